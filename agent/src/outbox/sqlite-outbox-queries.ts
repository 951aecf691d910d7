/**
 * Every statement of the outbox, prepared once; rows in and out have names, not column order.
 *
 * `batches` has no index but its key, to spare the card: what is open is looked for from a remembered place on
 * (`openFrom`, never above the first open row), and sums are remembered: a device that is offline for weeks holds tens of
 * thousands of rows, and is asked for its ledger each minute. All is thrown away when a transaction fails.
 */
import { STREAMS, type Stream } from '@skein/protocol/topics.ts';
import type { Bytes, Millis, Sha256Hex } from '@skein/protocol/units.ts';
import type Database from 'better-sqlite3';
import type { Loss, Run } from './ranges.ts';
import type { Segment } from './retention.ts';
import { Hiding } from './row-cipher.ts';
import type { StreamState } from './stream-state.ts';

/** A sealed batch, or the bridge over batches that are gone. It covers `from`…`to`; records start at `seq`. */
export interface BatchRow extends Run {
  seq: number;
  n: number;
  prev: Sha256Hex;
  head: Sha256Hex;
  firstAt: Millis;
  size: Bytes;
  /** Of its records; what `keep-alarms` looks at. */
  alarms: number;
  /** The server may have seen these bytes. */
  offered: boolean;
  doneAt: Millis | null;
  bridge: boolean;
  /** Of a bridge: records whose fate only the server knows. */
  doubt: Run[];
  /** The server said that the doubted records are stored. */
  regained: boolean;
  hash: Sha256Hex | null;
  bytes: Uint8Array | null;
}

/** A bridge whose words may still change: it is signed when it is first offered. */
export const UNSIGNED = { bytes: null, hash: null, offered: false } as const;

export const BATCHES_SCHEMA = `CREATE TABLE IF NOT EXISTS batches (stream INTEGER NOT NULL, from_seq INTEGER NOT NULL,
  to_seq INTEGER NOT NULL, seq INTEGER NOT NULL, n INTEGER NOT NULL, size INTEGER NOT NULL, offered INTEGER NOT NULL,
  done_at INTEGER, bridge INTEGER NOT NULL, regained INTEGER NOT NULL, first_at INTEGER NOT NULL, prev BLOB NOT NULL,
  head BLOB NOT NULL, hash BLOB, doubt_json TEXT, bytes BLOB, alarms INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (stream, from_seq)) WITHOUT ROWID`;

/**
 * The rows lie among their bytes, a page each: what counts them or looks for few would read all of a full buffer. SQLite
 * takes the first of these only where it finds all in it, hence the inner SELECTs below, and must not where delivered rows are
 * wanted in their order, hence `+done_at`: it would sort them.
 */
export const BATCH_INDICES = `
CREATE INDEX IF NOT EXISTS batches_open ON batches (stream, done_at, from_seq, bridge, n, size);
CREATE INDEX IF NOT EXISTS batches_doubtful ON batches (stream, done_at) WHERE doubt_json IS NOT NULL`;

/** Beside the state's own row, because they are many and change rarely. */
export const LOSSES_SCHEMA = `CREATE TABLE IF NOT EXISTS losses (stream INTEGER NOT NULL, epoch TEXT NOT NULL,
  from_seq INTEGER NOT NULL, to_seq INTEGER NOT NULL, kind TEXT NOT NULL, reason TEXT NOT NULL,
  PRIMARY KEY (stream, epoch, from_seq)) WITHOUT ROWID`;

/** What a row takes beyond its bytes: columns, its share of pages that are not full. */
export const BATCH_ROW_BYTES: Bytes = 1024;

type Raw = Record<string, unknown>;
const hex = (blob: unknown): string => (blob as Buffer).toString('hex');
const blob = (text: string): Buffer => Buffer.from(text, 'hex');

const asPlain = (bytes: Uint8Array): Uint8Array => new Uint8Array(bytes);
const bytesOf = (hiding: Hiding, { stream, from_seq, bytes }: Raw): Uint8Array | null =>
  bytes === null
    ? null
    : hiding.show(bytes as Buffer, 'batches', STREAMS[stream as number]!, from_seq as number, asPlain);

const asRow = (hiding: Hiding, raw: unknown): BatchRow => {
  const r = raw as Raw;
  return {
    from: r.from_seq as number,
    to: r.to_seq as number,
    seq: r.seq as number,
    n: r.n as number,
    prev: hex(r.prev),
    head: hex(r.head),
    firstAt: r.first_at as number,
    size: r.size as number,
    offered: r.offered === 1,
    doneAt: r.done_at as number | null,
    bridge: r.bridge === 1,
    doubt: r.doubt_json ? (JSON.parse(r.doubt_json as string) as Run[]) : [],
    regained: r.regained === 1,
    hash: r.hash === null ? null : hex(r.hash),
    bytes: bytesOf(hiding, r),
    alarms: r.alarms as number,
  };
};

const asRaw = (hiding: Hiding, stream: Stream, row: BatchRow): Raw => ({
  ...row,
  stream: STREAMS.indexOf(stream),
  offered: Number(row.offered),
  bridge: Number(row.bridge),
  regained: Number(row.regained),
  prev: blob(row.prev),
  head: blob(row.head),
  hash: row.hash === null ? null : blob(row.hash),
  doubt: row.doubt.length > 0 ? JSON.stringify(row.doubt) : null,
  bytes: row.bytes === null ? null : hiding.hide(row.bytes, 'batches', stream, row.from),
});

const isFresh = (row: BatchRow): boolean =>
  row.bridge && row.bytes === null && row.doneAt === null && row.doubt.length === 0;

/** Bridges whose records may be at the server after all, or no more, although it answered once. */
const ANSWERED_DOUBT = 'stream = ? AND done_at >= 0 AND doubt_json IS NOT NULL';
const OPEN = 'stream = @stream AND done_at IS NULL';
const OPEN_DATA = `${OPEN} AND bridge = 0`;
const within = (numbers: string): string =>
  `stream = @stream AND from_seq IN (SELECT from_seq FROM batches WHERE ${numbers})`;
const OLDEST_OPEN = within(`${OPEN} ORDER BY from_seq LIMIT @limit`);
const OLDEST_OPEN_DATA = within(`${OPEN_DATA} ORDER BY from_seq LIMIT @limit`);
const OPEN_DATA_UP_TO = `${within(`${OPEN_DATA} AND from_seq <= @upTo`)} AND to_seq <= @upTo`;
const IS_OPEN = 'SELECT done_at IS NULL FROM batches WHERE stream = ? AND from_seq = ?';
const LAST_FROM = 'FROM batches WHERE stream = ? AND from_seq <= ? ORDER BY from_seq DESC LIMIT 1';
const SUMS = 'coalesce(sum(n), 0) AS n, coalesce(sum(size), 0) AS bytes';
interface Sums {
  n: number;
  bytes: Bytes;
}

export type OutboxQueries = ReturnType<typeof outboxQueries>;

export function outboxQueries(database: Database.Database, hiding = new Hiding()) {
  const cache = new Map<string, Database.Statement>();
  const batchBytes = new Map<Stream, Bytes>();
  /** Of what is open. */
  const openSums = new Map<Stream, Sums>();
  const sql = (text: string): Database.Statement => {
    let statement = cache.get(text);
    if (statement === undefined) {
      statement = database.prepare(text);
      cache.set(text, statement);
    }
    return statement;
  };
  const saveRow = sql('INSERT OR REPLACE INTO streams VALUES (?, ?)');
  const id = (stream: Stream): number => STREAMS.indexOf(stream);
  const rows = (text: string, ...params: unknown[]): BatchRow[] =>
    sql(text)
      .all(...params)
      .map((raw) => asRow(hiding, raw));
  const one = (text: string, ...params: unknown[]): unknown =>
    sql(text)
      .pluck()
      .get(...params);
  const moreBytes = (stream: Stream, bytes: Bytes): void => {
    const known = batchBytes.get(stream);
    if (known !== undefined) batchBytes.set(stream, known + bytes);
  };
  const moreOpen = (stream: Stream, n: number, bytes: Bytes): void => {
    const sum = openSums.get(stream);
    if (sum) openSums.set(stream, { n: sum.n + n, bytes: sum.bytes + bytes });
  };
  /** What is left is known without counting it again, which at a cap would be at every commit. */
  const gone = (stream: Stream, text: string, ...params: unknown[]): void => {
    const deleted = sql(`${text} RETURNING size, n, bridge = 0 AND done_at IS NULL AS open`).all(...params);
    for (const { size, n, open } of deleted as { size: Bytes; n: number; open: 0 | 1 }[]) {
      moreBytes(stream, -size - BATCH_ROW_BYTES);
      if (open === 1) moreOpen(stream, -n, -size);
    }
  };
  /** The row that covers `seq`, or the last one before it. */
  const rowAt = (stream: Stream, seq: number): BatchRow | undefined =>
    rows(`SELECT * ${LAST_FROM}`, id(stream), seq)[0];

  return {
    /** After a transaction that failed: nothing remembered can be relied on. */
    forget(): void {
      batchBytes.clear();
      openSums.clear();
    },
    loadState(stream: Stream): StreamState | undefined {
      const text = one('SELECT state_json FROM streams WHERE stream = ?', id(stream)) as string | undefined;
      if (text === undefined) return undefined;
      const stored = JSON.parse(text) as Partial<StreamState>;
      const state = { leftOut: 0, untold: 0, steps: 0, losses: [], ...stored } as unknown as StreamState;
      const losses = sql(
        'SELECT epoch, from_seq AS "from", to_seq AS "to", kind, reason FROM losses WHERE stream = ?',
      ).all(id(stream)) as Loss[];
      return losses.length > 0 ? { ...state, losses } : state;
    },
    /** @param known losses that have their rows already */
    saveState({ losses, ...state }: StreamState, known: readonly Loss[]): void {
      const stream = id(state.stream);
      saveRow.run(stream, JSON.stringify(state));
      if (losses === known) return;
      const [before, after] = [new Set(known), new Set(losses)];
      for (const loss of known)
        if (!after.has(loss))
          sql('DELETE FROM losses WHERE stream = ? AND epoch = ? AND from_seq = ?').run(
            stream,
            loss.epoch,
            loss.from,
          );
      for (const loss of losses)
        if (!before.has(loss))
          sql('INSERT INTO losses VALUES (@stream, @epoch, @from, @to, @kind, @reason)').run({
            ...loss,
            stream,
          });
    },
    insertBatch(stream: Stream, row: BatchRow): void {
      sql(
        `INSERT INTO batches VALUES (@stream, @from, @to, @seq, @n, @size, @offered, @doneAt, @bridge, @regained,
         @firstAt, @prev, @head, @hash, @doubt, @bytes, @alarms)`,
      ).run(asRaw(hiding, stream, row));
      moreBytes(stream, row.size + BATCH_ROW_BYTES);
      if (!row.bridge && row.doneAt === null) moreOpen(stream, row.n, row.size);
    },
    /** Everything but the place and size of a row may change; bytes only once. */
    updateBatch(stream: Stream, row: BatchRow): void {
      const wasOpen = one(IS_OPEN, id(stream), row.from) === 1;
      sql(
        `UPDATE batches SET to_seq = @to, head = @head, offered = @offered, done_at = @doneAt, doubt_json = @doubt,
         regained = @regained, hash = @hash, bytes = @bytes WHERE stream = @stream AND from_seq = @from`,
      ).run(asRaw(hiding, stream, row));
      if (!row.bridge && wasOpen !== (row.doneAt === null)) openSums.delete(stream);
    },
    deleteBatch(stream: Stream, from: number): void {
      gone(stream, 'DELETE FROM batches WHERE stream = ? AND from_seq = ?', id(stream), from);
    },
    openBatches: (stream: Stream, limit: number): BatchRow[] =>
      rows(`SELECT * FROM batches WHERE ${OLDEST_OPEN} ORDER BY from_seq`, { stream: id(stream), limit }),
    oldestOpenData: (stream: Stream, limit: number): BatchRow[] =>
      rows(`SELECT * FROM batches WHERE ${OLDEST_OPEN_DATA} ORDER BY from_seq`, {
        stream: id(stream),
        limit,
      }),
    openBridge(stream: Stream, hash: Sha256Hex): BatchRow | undefined {
      const text = `SELECT * FROM batches WHERE ${within(`${OPEN} AND bridge = 1`)} AND hash = @hash`;
      return rows(text, { stream: id(stream), hash: blob(hash) })[0];
    },
    /** A bridge that nobody has seen yet and that hides nothing doubtful. */
    freshBridgeEndingAt(stream: Stream, to: number): BatchRow | undefined {
      const row = rowAt(stream, to);
      return row?.to === to && isFresh(row) ? row : undefined;
    },
    freshBridgeFrom(stream: Stream, from: number): BatchRow | undefined {
      const row = rowAt(stream, from);
      return row?.from === from && isFresh(row) ? row : undefined;
    },
    batchAt: (stream: Stream, from: number): BatchRow | undefined =>
      rows('SELECT * FROM batches WHERE stream = ? AND from_seq = ?', id(stream), from)[0],
    /** In order, from the row that contains `seq` on. */
    batchesFrom(stream: Stream, seq: number): BatchRow[] {
      const first = rowAt(stream, seq)?.from ?? seq;
      const text =
        'SELECT * FROM batches WHERE stream = ? AND from_seq >= ? AND to_seq >= ? ORDER BY from_seq';
      return rows(text, id(stream), first, seq);
    },
    /** How many are open, counted no further than `limit`. */
    countOpen: (stream: Stream, limit: number): number =>
      one(`SELECT count(*) FROM (SELECT 1 FROM batches WHERE ${OPEN} LIMIT @limit)`, {
        stream: id(stream),
        limit,
      }) as number,
    headAt(stream: Stream, to: number): Sha256Hex | undefined {
      const found = sql(`SELECT to_seq, head ${LAST_FROM}`).get(id(stream), to) as Raw | undefined;
      return found?.to_seq === to ? hex(found.head) : undefined;
    },
    /** Marks batches as delivered; the number of their records. */
    finishUpTo(stream: Stream, upTo: number, now: Millis): number {
      const given = { stream: id(stream), upTo };
      const { n, bytes } = sql(`SELECT ${SUMS} FROM batches WHERE ${OPEN_DATA_UP_TO}`).get(given) as Sums;
      sql(`UPDATE batches SET done_at = @now WHERE ${OPEN_DATA_UP_TO}`).run({ ...given, now });
      moreOpen(stream, -n, -bytes);
      return n;
    },
    countDoubts: (stream: Stream): number =>
      one(`SELECT count(*) FROM batches WHERE ${ANSWERED_DOUBT}`, id(stream)) as number,
    reopenDoubts(stream: Stream): void {
      sql(`UPDATE batches SET done_at = NULL WHERE ${ANSWERED_DOUBT}`).run(id(stream));
    },
    deleteDoneBefore(stream: Stream, before: Millis): void {
      gone(stream, 'DELETE FROM batches WHERE stream = ? AND done_at < ?', id(stream), before);
    },
    deleteOldestDone(stream: Stream, count: number): void {
      const oldest = `SELECT from_seq FROM batches WHERE stream = @stream AND +done_at IS NOT NULL AND bridge = 0
        ORDER BY from_seq LIMIT @count`;
      const text = `DELETE FROM batches WHERE stream = @stream AND from_seq IN (${oldest})`;
      if (count > 0) gone(stream, text, { stream: id(stream), count });
    },
    clear(stream: Stream): void {
      sql('DELETE FROM batches WHERE stream = ?').run(id(stream));
      batchBytes.delete(stream);
      openSums.delete(stream);
    },
    /** What the rows take on the disk, about. */
    totalBytes(stream: Stream): Bytes {
      const text = `SELECT coalesce(sum(size + ${BATCH_ROW_BYTES}), 0) FROM batches WHERE stream = ?`;
      const bytes = batchBytes.get(stream) ?? (one(text, id(stream)) as number);
      batchBytes.set(stream, bytes);
      return bytes;
    },
    /** What each delivered copy takes, oldest first. @param before from here on nothing is delivered: a backlog may be long */
    *keptSizes(stream: Stream, before: number): Iterable<Bytes> {
      const rows = sql(
        `SELECT size FROM batches WHERE stream = ? AND from_seq < ? AND bridge = 0 AND +done_at IS NOT NULL
         ORDER BY from_seq`,
      );
      for (const { size } of rows.iterate(id(stream), before) as Iterable<{ size: Bytes }>)
        yield size + BATCH_ROW_BYTES;
    },
    /** Batches that were not delivered, oldest first. */
    *segments(stream: Stream): Iterable<Segment> {
      const rows = sql(`SELECT from_seq, seq, to_seq, first_at, size, alarms FROM batches
        WHERE ${OPEN_DATA} ORDER BY from_seq`);
      for (const raw of rows.iterate({ stream: id(stream) })) {
        const r = raw as Record<string, number>;
        const size = r.size! + BATCH_ROW_BYTES;
        yield { from: r.from_seq!, to: r.to_seq!, size, at: r.first_at!, alarms: r.alarms! };
      }
    },
    totals(stream: Stream): { n: number; bytes: Bytes; at: Millis | null } {
      const text = `SELECT ${SUMS} FROM batches WHERE ${OPEN_DATA}`;
      const given = { stream: id(stream) };
      const sum = openSums.get(stream) ?? (sql(text).get(given) as Sums);
      openSums.set(stream, sum);
      const at = one(`SELECT first_at FROM batches WHERE ${OLDEST_OPEN_DATA}`, { ...given, limit: 1 });
      return { ...sum, at: (at as Millis | undefined) ?? null };
    },
  };
}
