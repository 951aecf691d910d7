/** What the two databases hold, read from outside: the files of whoever is dead are copied, so that nothing is touched. */
import { createHash } from 'node:crypto';
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { nativeCodecs } from '@skein/fleet-server/node-codecs.ts';
import { openBatch, readRecords } from '@skein/protocol/batch/sealed.ts';
import { STREAMS, type Stream } from '@skein/protocol/topics.ts';
import Database from 'better-sqlite3';
import { dataKeysBy } from '../../agent/src/at-rest/disk-data-keys.ts';
import { rowCipher } from '../../agent/src/at-rest/node-row-cipher.ts';
import { CLEAR, type RowCipher } from '../../agent/src/outbox/row-cipher.ts';
import { unpackChunk } from '../../agent/src/outbox/sqlite-outbox-chunks.ts';

/** A record where it stands: its number in an epoch of a stream, and a hash of what it says. */
export interface Placed {
  stream: Stream;
  epoch: string;
  seq: number;
  hash: string;
}

export interface Loss {
  epoch: string;
  from: number;
  to: number;
  kind: 'dropped' | 'lost' | 'unknown';
  reason: string;
}

export interface OutboxStream {
  stream: Stream;
  epoch: string;
  nextSeq: number;
  accepted: number;
  stored: number;
  losses: Loss[];
  /** Numbers of the current epoch that are neither delivered nor given up. */
  pending: number[];
}

export interface OutboxFile {
  streams: OutboxStream[];
  records: Placed[];
}

type Row = Record<string, unknown>;

/** Key order is free (batches store columns, the outbox text); everything else counts, at every depth. */
const canonical = (value: unknown): unknown => {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map(canonical);
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return entries.map(([name, inner]) => [name, canonical(inner)]);
};

const hashOf = (record: unknown): string =>
  createHash('sha256')
    .update(JSON.stringify(canonical(record)))
    .digest('hex');

function placed(bytes: Uint8Array): Placed[] {
  const batch = openBatch(bytes);
  const { stream, epoch, seq } = batch.header;
  return readRecords(batch, nativeCodecs).map((record, i) => ({
    stream,
    epoch,
    seq: seq + i,
    hash: hashOf(record),
  }));
}

/** @param scratch a folder for the copy. @returns undefined when it died before its first transaction */
export function readDeadOutbox(
  path: string,
  scratch: string,
  since: Since = new Map(),
): OutboxFile | undefined {
  if (!existsSync(path)) return undefined;
  const copy = mkdtempSync(join(scratch, 'copy-'));
  try {
    for (const suffix of ['', '-wal']) {
      if (existsSync(path + suffix)) copyFileSync(path + suffix, join(copy, `outbox.db${suffix}`));
    }
    return withDatabase(join(copy, 'outbox.db'), {}, (database) =>
      readOutbox(database, since, cipherOf(dirname(path))),
    );
  } finally {
    rmSync(copy, { recursive: true, force: true });
  }
}

/** Of a living agent: its own numbers only. */
export const readLiveStreams = (path: string): OutboxStream[] =>
  withDatabase(path, { readonly: true, timeout: 500 }, streamsOf);

function withDatabase<T>(
  path: string,
  options: Database.Options,
  read: (database: Database.Database) => T,
): T {
  const database = new Database(path, options);
  try {
    return read(database);
  } finally {
    database.close();
  }
}

/** By `stream/epoch` the number below which batches were read before. */
export type Since = ReadonlyMap<string, number>;

/** Beside the state directories of a campaign whose devices encrypt. */
export const KEY_FILE = 'at-rest.key';

function cipherOf(stateDir: string): RowCipher {
  const file = join(stateDir, '..', KEY_FILE);
  const keys = existsSync(file) ? dataKeysBy(stateDir, readFileSync(file)) : undefined;
  return keys ? rowCipher(keys.outbox) : CLEAR;
}

function readOutbox(database: Database.Database, since: Since, cipher: RowCipher): OutboxFile | undefined {
  const made = database.prepare(
    "SELECT count(*) FROM sqlite_master WHERE name IN ('streams', 'chunks', 'batches')",
  );
  if (made.pluck().get() !== 3) return undefined;
  const streams = streamsOf(database);
  const records: Placed[] = [];
  for (const { stream, epoch } of streams) {
    const id = STREAMS.indexOf(stream);
    const chunks = database.prepare('SELECT seq, body FROM chunks WHERE stream = ?').all(id) as Row[];
    for (const { seq, body } of chunks) {
      const place = { table: 'chunks', stream, epoch, seq: seq as number } as const;
      for (const [i, text] of unpackChunk(cipher.decrypt(body as Buffer, place)).entries()) {
        records.push({ stream, epoch, seq: place.seq + i, hash: hashOf(JSON.parse(text)) });
      }
    }
    const batches = database
      .prepare(
        'SELECT from_seq AS seq, bytes FROM batches WHERE stream = ? AND to_seq >= ? AND bytes IS NOT NULL AND bridge = 0',
      )
      .iterate(id, since.get(`${stream}/${epoch}`) ?? 0) as IterableIterator<{ seq: number; bytes: Buffer }>;
    for (const { seq, bytes } of batches)
      records.push(...placed(cipher.decrypt(bytes, { table: 'batches', stream, epoch, seq })));
  }
  return { streams, records };
}

function streamsOf(database: Database.Database): OutboxStream[] {
  const rows = database.prepare('SELECT stream, state_json FROM streams ORDER BY stream').all() as Row[];
  const losses = database.prepare(
    'SELECT epoch, from_seq AS "from", to_seq AS "to", kind, reason FROM losses WHERE stream = ? ORDER BY from_seq',
  );
  const open = database.prepare(
    'SELECT seq, n FROM batches WHERE stream = ? AND done_at IS NULL AND bridge = 0 UNION ALL SELECT seq, n FROM chunks WHERE stream = ?',
  );
  return rows.map((row) => {
    const { epoch, nextSeq, accepted, stored } = JSON.parse(row.state_json as string);
    const waiting = open.all(row.stream, row.stream) as { seq: number; n: number }[];
    const pending = waiting.flatMap(({ seq, n }) => Array.from({ length: n }, (_, i) => seq + i));
    const stream = STREAMS[row.stream as number]!;
    return { stream, epoch, nextSeq, accepted, stored, losses: losses.all(row.stream) as Loss[], pending };
  });
}

/** One stored batch of one device, as it came. */
export interface StoredBatch {
  stream: Stream;
  epoch: string;
  seq: number;
  n: number;
  records: Placed[];
}

/** In the order in which they were stored. */
export function readServer(path: string): Map<string, StoredBatch[]> {
  return withDatabase(path, { readonly: true, timeout: 5_000 }, (database) => {
    const devices = new Map<string, StoredBatch[]>();
    const rows = database.prepare('SELECT device, stream, epoch, seq, n, bytes FROM batches ORDER BY rowid');
    for (const row of rows.iterate() as IterableIterator<Row>) {
      const { stream, epoch, seq, n } = row as unknown as StoredBatch;
      const own = devices.get(row.device as string) ?? [];
      own.push({ stream, epoch, seq, n, records: placed(row.bytes as Buffer) });
      devices.set(row.device as string, own);
    }
    return devices;
  });
}
