/**
 * Reads what a damaged database still has. A page that is damaged hides the keys on it and nothing else: what lies before
 * is read forwards, what lies behind backwards from a key that can be found again. Nothing is believed for being
 * readable: a batch has its hash and a chunk its checksum.
 *
 * Bound: {@link MAX_FAULTS} damaged places a table and stream.
 */
import { chainHead } from '@skein/protocol/batch/sealed.ts';
import { STREAMS, type Stream } from '@skein/protocol/topics.ts';
import Database from 'better-sqlite3';
import { attempt } from '../attempt.ts';
import type { Loss, Run } from './ranges.ts';
import { CLEAR, type RowCipher, type RowPlace } from './row-cipher.ts';
import { type ChunkRow, isWhole, type RecordRow, unpackChunk } from './sqlite-outbox-chunks.ts';
import { outboxQueries } from './sqlite-outbox-queries.ts';
import { recordsOf } from './sqlite-outbox-records.ts';
import type { StreamState } from './stream-state.ts';

const MAX_FAULTS = 256;

export interface Salvaged {
  state: StreamState | undefined;
  losses: Loss[];
  /** In order: of chunks, and of sealed batches that were never offered. */
  records: RecordRow[];
  /** Numbers of whole batches that were offered and not acknowledged. */
  doubtful: Run[];
}

/**
 * undefined: not even its table of contents can be read.
 * @param known epochs that a stream may have been in; the database's own state may be gone
 */
export function salvage(
  file: string,
  cipher: RowCipher = CLEAR,
  known: (stream: Stream) => readonly string[] = () => [],
): Map<Stream, Salvaged> | undefined {
  let database: Database.Database | undefined;
  try {
    database = new Database(file, { readonly: true });
    const opened = database;
    return new Map(STREAMS.map((stream) => [stream, salvageStream(opened, stream, cipher, known(stream))]));
  } catch {
    return undefined;
  } finally {
    database?.close();
  }
}

function salvageStream(
  database: Database.Database,
  stream: Stream,
  cipher: RowCipher,
  known: readonly string[],
): Salvaged {
  const state = attempt(() => outboxQueries(database).loadState(stream));
  const found: Salvaged = { state, losses: [], records: [], doubtful: [] };
  found.losses = state ? [...state.losses] : [];
  const epochs = [...new Set([...(state ? [state.epoch] : []), ...known])];
  const shown = (table: RowPlace['table'], seq: unknown, stored: unknown): unknown => {
    if (!(stored instanceof Uint8Array)) return stored;
    for (const epoch of epochs.length > 0 ? epochs : [''])
      try {
        return cipher.decrypt(stored, { table, stream, epoch, seq: seq as number });
      } catch {
        // Another epoch, or damage: nothing is believed.
      }
    return undefined;
  };
  for (const row of readableRows(database, stream, 'batches', 'from_seq'))
    readBatch({ ...row, bytes: shown('batches', row.from_seq, row.bytes) }, found);
  for (const row of readableRows(database, stream, 'chunks', 'seq'))
    readChunk({ ...row, plain: shown('chunks', row.seq, row.body) }, found);
  found.records.sort((a, b) => a.seq - b.seq);
  return found;
}

type Raw = Record<string, unknown>;

function readBatch(row: Raw, found: Salvaged): void {
  const { bytes, hash, seq, n, offered, done_at: doneAt, bridge, first_at: at } = row;
  if (bridge === 1 || doneAt !== null || !(bytes instanceof Uint8Array) || !(hash instanceof Uint8Array))
    return;
  if (chainHead(bytes) !== Buffer.from(hash).toString('hex')) return;
  const first = seq as number;
  if (offered === 1) found.doubtful.push({ from: first, to: first + (n as number) - 1 });
  else found.records.push(...(attempt(() => recordsOf(bytes, at as number)) ?? []));
}

function readChunk(raw: Raw, found: Salvaged): void {
  const row = raw as unknown as ChunkRow & { crc: number | null; plain: Uint8Array };
  const texts = attempt(() => (isWhole(row.body, row.crc) ? unpackChunk(row.plain) : []));
  if (texts?.length !== row.n || !texts.every((text) => attempt(() => JSON.parse(text)))) return;
  texts.forEach((body, i) => {
    found.records.push({ seq: row.seq + i, at: row.at, body, leftOut: i === 0 ? (row.left_out ?? 0) : 0 });
  });
}

/** Every row whose key and columns can be read, each once, in no order. */
function* readableRows(
  database: Database.Database,
  stream: Stream,
  table: string,
  key: string,
): Iterable<Raw> {
  const id = STREAMS.indexOf(stream);
  const where = `FROM ${table} WHERE stream = ? AND ${key}`;
  const keys = {
    up: `SELECT ${key} ${where} > ? ORDER BY ${key} LIMIT 1`,
    down: `SELECT ${key} ${where} < ? ORDER BY ${key} DESC LIMIT 1`,
  };
  const next = (way: keyof typeof keys, from: number): number | undefined =>
    database.prepare(keys[way]).pluck().get(id, from) as number | undefined;
  const row = (at: number): Raw | undefined =>
    attempt(() => database.prepare(`SELECT * ${where} = ?`).get(id, at) as Raw | undefined);
  const seen = new Set<number>();
  let [at, stride, faults] = [-1, 1, 0];
  while (faults < MAX_FAULTS) {
    let found: number | undefined;
    try {
      found = next('up', at);
    } catch {
      faults++;
      at += stride;
      stride *= 2;
      continue;
    }
    if (found === undefined) break;
    if (stride > 1) yield* downTo(found, seen, next, row);
    stride = 1;
    at = found;
    if (seen.has(at)) continue;
    seen.add(at);
    const whole = row(at);
    if (whole) yield whole;
  }
  yield* downTo(Number.MAX_SAFE_INTEGER, seen, next, row);
}

/** From behind a damaged place back to it. */
function* downTo(
  from: number,
  seen: Set<number>,
  next: (way: 'down', from: number) => number | undefined,
  row: (at: number) => Raw | undefined,
): Iterable<Raw> {
  for (let at: number | undefined = from; at !== undefined; ) {
    const below: number = at;
    at = attempt(() => next('down', below));
    if (at === undefined || seen.has(at)) return;
    seen.add(at);
    const whole = row(at);
    if (whole) yield whole;
  }
}
