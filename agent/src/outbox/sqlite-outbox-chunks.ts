/**
 * Committed records that no batch has sealed yet, one row per commit and stream: a card is written by the page, and a
 * group of alike records shrinks to a tenth.
 *
 * A chunk is `seq … seq + n − 1`; its body is the records' JSON, a line each, as it is (`{` first) or raw deflate behind a zero byte.
 * `left_out` results were seen and not kept before its first record, `alarms` of its records are some, `crc` is of the body.
 */
import { crc32 } from 'node:zlib';
import { STREAMS, type Stream } from '@skein/protocol/topics.ts';
import type { Bytes, Millis } from '@skein/protocol/units.ts';
import type Database from 'better-sqlite3';
import { deflater, inflater } from '../node-deflate.ts';
import type { Run } from './ranges.ts';
import type { Segment } from './retention.ts';
import { Hiding } from './row-cipher.ts';
import { isAlarm } from './urgent.ts';

export interface RecordRow {
  seq: number;
  at: Millis;
  body: string;
  /** Results left out before it. */
  leftOut: number;
}

/** What a commit knows of its records. */
export interface NewChunk {
  seq: number;
  at: Millis;
  texts: readonly string[];
  leftOut: number;
  alarms: number;
}

export const CHUNKS_SCHEMA = `CREATE TABLE IF NOT EXISTS chunks (stream INTEGER NOT NULL, seq INTEGER NOT NULL,
  n INTEGER NOT NULL, at INTEGER NOT NULL, size INTEGER NOT NULL, body BLOB NOT NULL, left_out INTEGER NOT NULL DEFAULT 0,
  alarms INTEGER NOT NULL DEFAULT 0, crc INTEGER, PRIMARY KEY (stream, seq)) WITHOUT ROWID`;

/** What a row takes beyond its body: columns, its share of a page that is not full. */
export const CHUNK_ROW_BYTES: Bytes = 512;
/** Shorter bodies stay as they are. */
const DEFLATE_FROM: Bytes = 400;
/** Alike lines need no more window than this. Level 6 makes them a twentieth shorter and takes half as long again. */
const deflate = deflater({ level: 3, windowBits: 13, memLevel: 7, chunkSize: 4096 });
const inflate = inflater({});

function pack(texts: readonly string[]): Buffer {
  const plain = Buffer.from(texts.length === 1 ? texts[0]! : texts.join('\n'));
  if (plain.length < DEFLATE_FROM) return plain;
  return Buffer.concat([Buffer.of(0), deflate(plain)]);
}

/** The records of a chunk's body, as they were appended. */
export function unpackChunk(body: Uint8Array): string[] {
  const plain = body[0] === 0 ? inflate(body.subarray(1)) : Buffer.from(body);
  return plain.toString().split('\n');
}

/** As `crc` has it; null: written before there was one. */
export const isWhole = (body: Uint8Array, crc: number | null | undefined): boolean =>
  (crc ?? null) === null || crc32(body) === crc;

export interface ChunkRow {
  seq: number;
  n: number;
  at: Millis;
  size: Bytes;
  body: Buffer;
  left_out: number;
}

/** `bytes` of the bodies; {@link CHUNK_ROW_BYTES} more for each row are on the disk. */
export interface ChunkTotals {
  n: number;
  bytes: Bytes;
  rows: number;
  /** Of the oldest; null: there is none. */
  at: Millis | null;
}

export type ChunkQueries = ReturnType<typeof chunkQueries>;

export function chunkQueries(database: Database.Database, hiding = new Hiding()) {
  const textsOf = (stream: Stream, { seq, body }: ChunkRow): string[] =>
    hiding.show(body, 'chunks', stream, seq, unpackChunk);
  const id = (stream: Stream): number => STREAMS.indexOf(stream);
  const insertRow = database.prepare('INSERT INTO chunks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)');
  const oldest = database.prepare(
    'SELECT seq, n, at, body, left_out FROM chunks WHERE stream = ? ORDER BY seq',
  );
  const touching = database.prepare(
    'SELECT seq, n, at, body, left_out FROM chunks WHERE stream = ? AND seq <= ? AND seq + n > ? ORDER BY seq',
  );
  const remove = database.prepare('DELETE FROM chunks WHERE stream = ? AND seq = ?');
  const segments = database.prepare(
    'SELECT seq, n, at, size, alarms FROM chunks WHERE stream = ? ORDER BY seq',
  );
  const totals = database.prepare(
    `SELECT coalesce(sum(n), 0) AS n, coalesce(sum(size), 0) AS bytes, count(*) AS rows, min(at) AS at
     FROM chunks WHERE stream = ?`,
  );

  /** Sums that are remembered, because every commit asks; thrown away when a transaction fails. */
  const known = new Map<Stream, ChunkTotals>();

  const insert = (stream: Stream, { seq, at, texts, leftOut, alarms }: NewChunk): void => {
    const body = hiding.hide(pack(texts), 'chunks', stream, seq);
    insertRow.run(id(stream), seq, texts.length, at, body.length, body, leftOut, alarms, crc32(body));
    const sum = known.get(stream);
    if (!sum) return;
    known.set(stream, {
      n: sum.n + texts.length,
      bytes: sum.bytes + body.length,
      rows: sum.rows + 1,
      at: Math.min(sum.at ?? at, at),
    });
  };
  /** A part of a chunk that was cut. */
  const insertPart = (stream: Stream, part: Omit<NewChunk, 'alarms'>): void => {
    if (part.texts.length === 0) return;
    const alarms = part.texts.filter((text) => isAlarm(stream, JSON.parse(text))).length;
    insert(stream, { ...part, alarms });
  };

  const recordsOf = (stream: Stream, row: ChunkRow): RecordRow[] =>
    textsOf(stream, row).map((body, i) => ({
      seq: row.seq + i,
      at: row.at,
      body,
      leftOut: i === 0 ? row.left_out : 0,
    }));

  return {
    insert,
    allRecords: (stream: Stream): RecordRow[] =>
      (oldest.all(id(stream)) as ChunkRow[]).flatMap((row) => recordsOf(stream, row)),
    /** The oldest without a hole, until `limit` records or `maxText` characters; always at least one when there is one. */
    oldestRecords(stream: Stream, limit: number, maxText: Bytes = Number.POSITIVE_INFINITY): RecordRow[] {
      const found: RecordRow[] = [];
      let text = 0;
      for (const row of oldest.iterate(id(stream)) as IterableIterator<ChunkRow>) {
        if (found.length > 0 && found.at(-1)!.seq + 1 !== row.seq) return found;
        for (const record of recordsOf(stream, row)) {
          text += record.body.length;
          if (found.length >= limit || (text > maxText && found.length > 0)) return found;
          found.push(record);
        }
      }
      return found;
    },
    /** A chunk that is only touched keeps what lies outside of `run`. */
    delete(stream: Stream, run: Run): void {
      for (const row of touching.all(id(stream), run.to, run.from) as ChunkRow[]) {
        const { seq, n, at, left_out } = row;
        remove.run(id(stream), seq);
        known.delete(stream);
        if (run.from <= seq && seq + n - 1 <= run.to) continue;
        const texts = textsOf(stream, row);
        const before = texts.slice(0, Math.max(0, run.from - seq));
        insertPart(stream, { seq, at, texts: before, leftOut: left_out });
        const after = texts.slice(Math.min(n, run.to + 1 - seq));
        insertPart(stream, { seq: run.to + 1, at, texts: after, leftOut: 0 });
      }
    },
    clear(stream: Stream): void {
      database.prepare('DELETE FROM chunks WHERE stream = ?').run(id(stream));
      known.delete(stream);
    },
    /** Oldest first. */
    *segments(stream: Stream): Iterable<Segment> {
      const rows = segments.iterate(id(stream)) as IterableIterator<ChunkRow & { alarms: number }>;
      for (const { seq, n, at, size, alarms } of rows)
        yield { from: seq, to: seq + n - 1, size: size + CHUNK_ROW_BYTES, at, alarms };
    },
    totals(stream: Stream): ChunkTotals {
      const sum = known.get(stream) ?? (totals.get(id(stream)) as ChunkTotals);
      known.set(stream, sum);
      return sum;
    },
    /** After a transaction that failed. */
    forget: (): void => known.clear(),
  };
}
