/** Every statement of the outbox, prepared once; rows in and out have names, not column order. */
import { STREAMS, type Stream } from '@skein/protocol/topics.ts';
import type { Bytes, Millis, Sha256Hex } from '@skein/protocol/units.ts';
import type Database from 'better-sqlite3';
import type { Run } from './ranges.ts';
import type { Holding } from './retention.ts';
import type { StreamState } from './stream-state.ts';

export interface RecordRow {
  seq: number;
  at: Millis;
  body: string;
}

/** A sealed batch, or the bridge over batches that are gone. It covers `from`…`to`; records start at `seq`. */
export interface BatchRow extends Run {
  seq: number;
  n: number;
  prev: Sha256Hex;
  head: Sha256Hex;
  firstAt: Millis;
  size: Bytes;
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

/** Bridges whose records may be at the server after all, or no more, although it answered once. */
const ANSWERED_DOUBT = 'stream = ? AND done_at IS NOT NULL AND doubt_json IS NOT NULL';

type Raw = Record<string, unknown>;

const asRow = (raw: unknown): BatchRow => {
  const r = raw as Raw;
  return {
    from: r.from_seq as number,
    to: r.to_seq as number,
    seq: r.seq as number,
    n: r.n as number,
    prev: r.prev as string,
    head: r.head as string,
    firstAt: r.first_at as number,
    size: r.size as number,
    offered: r.offered === 1,
    doneAt: r.done_at as number | null,
    bridge: r.bridge === 1,
    doubt: r.doubt_json ? (JSON.parse(r.doubt_json as string) as Run[]) : [],
    regained: r.regained === 1,
    hash: r.hash as string | null,
    bytes: r.bytes === null ? null : new Uint8Array(r.bytes as Buffer),
  };
};

const asRaw = (stream: Stream, row: BatchRow): Raw => ({
  ...row,
  stream: STREAMS.indexOf(stream),
  offered: Number(row.offered),
  bridge: Number(row.bridge),
  regained: Number(row.regained),
  doubt: row.doubt.length > 0 ? JSON.stringify(row.doubt) : null,
});

export type OutboxQueries = ReturnType<typeof outboxQueries>;

export function outboxQueries(database: Database.Database) {
  const cache = new Map<string, Database.Statement>();
  const sql = (text: string): Database.Statement => {
    let statement = cache.get(text);
    if (statement === undefined) {
      statement = database.prepare(text);
      cache.set(text, statement);
    }
    return statement;
  };
  const id = (stream: Stream): number => STREAMS.indexOf(stream);
  const rows = (text: string, ...params: unknown[]): BatchRow[] =>
    sql(text)
      .all(...params)
      .map(asRow);
  const one = (text: string, ...params: unknown[]): unknown =>
    sql(text)
      .pluck()
      .get(...params);

  return {
    loadState(stream: Stream): StreamState | undefined {
      const text = one('SELECT state_json FROM streams WHERE stream = ?', id(stream));
      return text === undefined ? undefined : (JSON.parse(text as string) as StreamState);
    },
    saveState(state: StreamState): void {
      sql('INSERT OR REPLACE INTO streams VALUES (?, ?)').run(id(state.stream), JSON.stringify(state));
    },
    insertRecord(stream: Stream, { seq, at, body }: RecordRow): void {
      sql('INSERT INTO records VALUES (?, ?, ?, ?)').run(id(stream), seq, at, body);
    },
    /** The oldest, until `limit` records or `maxText` characters; always at least one when there is one. */
    oldestRecords(stream: Stream, limit: number, maxText: Bytes = Number.POSITIVE_INFINITY): RecordRow[] {
      const found: RecordRow[] = [];
      let text = 0;
      const all = sql('SELECT seq, at, body FROM records WHERE stream = ? ORDER BY seq LIMIT ?');
      for (const row of all.iterate(id(stream), limit) as IterableIterator<RecordRow>) {
        text += row.body.length;
        if (text > maxText && found.length > 0) break;
        found.push(row);
      }
      return found;
    },
    deleteRecords(stream: Stream, run: Run): void {
      sql('DELETE FROM records WHERE stream = ? AND seq BETWEEN ? AND ?').run(id(stream), run.from, run.to);
    },
    insertBatch(stream: Stream, row: BatchRow): void {
      sql(
        `INSERT INTO batches VALUES (@stream, @from, @to, @seq, @n, @prev, @head, @firstAt, @size, @offered, @doneAt,
         @bridge, @doubt, @regained, @hash, @bytes)`,
      ).run(asRaw(stream, row));
    },
    /** Everything but the place of a row may change; bytes only once. */
    updateBatch(stream: Stream, row: BatchRow): void {
      sql(
        `UPDATE batches SET to_seq = @to, head = @head, offered = @offered, done_at = @doneAt, doubt_json = @doubt,
         regained = @regained, hash = @hash, bytes = @bytes WHERE stream = @stream AND from_seq = @from`,
      ).run(asRaw(stream, row));
    },
    deleteBatch(stream: Stream, from: number): void {
      sql('DELETE FROM batches WHERE stream = ? AND from_seq = ?').run(id(stream), from);
    },
    openBatches: (stream: Stream, limit: number): BatchRow[] =>
      rows(
        'SELECT * FROM batches WHERE stream = ? AND done_at IS NULL ORDER BY from_seq LIMIT ?',
        id(stream),
        limit,
      ),
    oldestOpenData: (stream: Stream, limit: number): BatchRow[] =>
      rows(
        'SELECT * FROM batches WHERE stream = ? AND done_at IS NULL AND bridge = 0 ORDER BY from_seq LIMIT ?',
        id(stream),
        limit,
      ),
    openBridge: (stream: Stream, hash: Sha256Hex): BatchRow | undefined =>
      rows(
        'SELECT * FROM batches WHERE stream = ? AND done_at IS NULL AND bridge = 1 AND hash = ?',
        id(stream),
        hash,
      )[0],
    /** A bridge that nobody has seen yet and that hides nothing doubtful. */
    freshBridgeEndingAt: (stream: Stream, to: number): BatchRow | undefined =>
      rows(
        `SELECT * FROM batches WHERE stream = ? AND to_seq = ? AND bridge = 1 AND bytes IS NULL AND done_at IS NULL
         AND doubt_json IS NULL AND regained = 0`,
        id(stream),
        to,
      )[0],
    /** In order, from the row that contains `seq` on. */
    batchesFrom: (stream: Stream, seq: number): BatchRow[] =>
      rows('SELECT * FROM batches WHERE stream = ? AND to_seq >= ? ORDER BY from_seq', id(stream), seq),
    countOpen: (stream: Stream): number =>
      one('SELECT count(*) FROM batches WHERE stream = ? AND done_at IS NULL', id(stream)) as number,
    headAt: (stream: Stream, to: number): Sha256Hex | undefined =>
      one('SELECT head FROM batches WHERE stream = ? AND to_seq = ?', id(stream), to) as string | undefined,
    /** Marks batches as delivered; the number of their records. */
    finishUpTo(stream: Stream, upTo: number, now: Millis): number {
      const where = 'stream = ? AND done_at IS NULL AND bridge = 0 AND to_seq <= ?';
      const count = one(`SELECT coalesce(sum(n), 0) FROM batches WHERE ${where}`, id(stream), upTo) as number;
      sql(`UPDATE batches SET done_at = ? WHERE ${where}`).run(now, id(stream), upTo);
      return count;
    },
    countDoubts: (stream: Stream): number =>
      one(`SELECT count(*) FROM batches WHERE ${ANSWERED_DOUBT}`, id(stream)) as number,
    reopenDoubts(stream: Stream): void {
      sql(`UPDATE batches SET done_at = NULL WHERE ${ANSWERED_DOUBT}`).run(id(stream));
    },
    deleteDoneBefore(stream: Stream, before: Millis): void {
      sql('DELETE FROM batches WHERE stream = ? AND done_at < ?').run(id(stream), before);
    },
    deleteOldestDone(stream: Stream, count: number): void {
      sql(
        `DELETE FROM batches WHERE stream = @stream AND from_seq IN (SELECT from_seq FROM batches
         WHERE stream = @stream AND done_at IS NOT NULL AND bridge = 0 ORDER BY from_seq LIMIT @count)`,
      ).run({ stream: id(stream), count });
    },
    clear(stream: Stream): void {
      sql('DELETE FROM batches WHERE stream = ?').run(id(stream));
      sql('DELETE FROM records WHERE stream = ?').run(id(stream));
    },
    totalBytes: (stream: Stream): Bytes =>
      one(
        `SELECT (SELECT coalesce(sum(size), 0) FROM batches WHERE stream = @stream) +
         (SELECT coalesce(sum(length(body)), 0) FROM records WHERE stream = @stream)`,
        { stream: id(stream) },
      ) as number,
    holding(stream: Stream): Holding {
      const sizes = (where: string): Bytes[] =>
        sql(`SELECT size FROM batches WHERE stream = ? AND ${where} ORDER BY from_seq`)
          .pluck()
          .all(id(stream)) as Bytes[];
      return {
        kept: sizes('done_at IS NOT NULL AND bridge = 0'),
        pending: sizes('done_at IS NULL AND bridge = 0'),
        unsealed: sql('SELECT length(body) FROM records WHERE stream = ? ORDER BY seq')
          .pluck()
          .all(id(stream)) as Bytes[],
      };
    },
    pendingTotals(stream: Stream): { pending: number; pendingBytes: Bytes; oldestPendingAt: Millis | null } {
      const sealed = sql(
        `SELECT coalesce(sum(n), 0) AS n, coalesce(sum(size), 0) AS bytes, min(first_at) AS at FROM batches
         WHERE stream = ? AND done_at IS NULL AND bridge = 0`,
      ).get(id(stream)) as Totals;
      const loose = sql(
        'SELECT count(*) AS n, coalesce(sum(length(body)), 0) AS bytes, min(at) AS at FROM records WHERE stream = ?',
      ).get(id(stream)) as Totals;
      return {
        pending: sealed.n + loose.n,
        pendingBytes: sealed.bytes + loose.bytes,
        oldestPendingAt: sealed.at ?? loose.at,
      };
    },
  };
}

interface Totals {
  n: number;
  bytes: Bytes;
  at: Millis | null;
}
