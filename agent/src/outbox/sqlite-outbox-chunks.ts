/**
 * Committed records that no batch has sealed yet, one row per commit and stream: a card is written by the page, and a
 * group of alike records shrinks to a tenth.
 *
 * A chunk is `seq … seq + n − 1`; its body is the records' JSON, a line each, as it is (`{` first) or raw deflate behind a zero byte.
 */
import { deflateRawSync, inflateRawSync } from 'node:zlib';
import { STREAMS, type Stream } from '@skein/protocol/topics.ts';
import type { Bytes, Millis } from '@skein/protocol/units.ts';
import type Database from 'better-sqlite3';
import type { Run } from './ranges.ts';

export interface RecordRow {
  seq: number;
  at: Millis;
  body: string;
}

export const CHUNKS_SCHEMA = `CREATE TABLE IF NOT EXISTS chunks (stream INTEGER NOT NULL, seq INTEGER NOT NULL,
  n INTEGER NOT NULL, at INTEGER NOT NULL, size INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (stream, seq)) WITHOUT ROWID`;

/** Shorter bodies stay as they are. */
const DEFLATE_FROM: Bytes = 400;

function pack(texts: readonly string[]): Buffer {
  const plain = Buffer.from(texts.join('\n'));
  if (plain.length < DEFLATE_FROM) return plain;
  return Buffer.concat([Buffer.of(0), deflateRawSync(plain, { level: 6 })]);
}

/** The records of a chunk's body, as they were appended. */
export function unpackChunk(body: Uint8Array): string[] {
  const plain = body[0] === 0 ? inflateRawSync(body.subarray(1)) : Buffer.from(body);
  return plain.toString().split('\n');
}

interface ChunkRow {
  seq: number;
  n: number;
  at: Millis;
  size: Bytes;
  body: Buffer;
}

export type ChunkQueries = ReturnType<typeof chunkQueries>;

export function chunkQueries(database: Database.Database) {
  const id = (stream: Stream): number => STREAMS.indexOf(stream);
  const insertRow = database.prepare('INSERT INTO chunks VALUES (?, ?, ?, ?, ?, ?)');
  const oldest = database.prepare('SELECT seq, n, at, body FROM chunks WHERE stream = ? ORDER BY seq');
  const touching = database.prepare(
    'SELECT seq, n, at, body FROM chunks WHERE stream = ? AND seq <= ? AND seq + n > ? ORDER BY seq',
  );
  const remove = database.prepare('DELETE FROM chunks WHERE stream = ? AND seq = ?');
  const sizes = database.prepare('SELECT size FROM chunks WHERE stream = ? ORDER BY seq').pluck();
  const totals = database.prepare(
    'SELECT coalesce(sum(n), 0) AS n, coalesce(sum(size), 0) AS bytes, min(at) AS at FROM chunks WHERE stream = ?',
  );
  const spans = database.prepare('SELECT seq, n FROM chunks WHERE stream = ? ORDER BY seq LIMIT ?');

  const insert = (stream: Stream, seq: number, at: Millis, texts: readonly string[]): void => {
    const body = pack(texts);
    insertRow.run(id(stream), seq, texts.length, at, body.length, body);
  };

  return {
    insert,
    /** The oldest, until `limit` records or `maxText` characters; always at least one when there is one. */
    oldestRecords(stream: Stream, limit: number, maxText: Bytes = Number.POSITIVE_INFINITY): RecordRow[] {
      const found: RecordRow[] = [];
      let text = 0;
      for (const { seq, at, body } of oldest.iterate(id(stream)) as IterableIterator<ChunkRow>) {
        for (const [i, record] of unpackChunk(body).entries()) {
          text += record.length;
          if (found.length >= limit || (text > maxText && found.length > 0)) return found;
          found.push({ seq: seq + i, at, body: record });
        }
      }
      return found;
    },
    /** A chunk that is only touched keeps what lies outside of `run`. */
    delete(stream: Stream, run: Run): void {
      for (const { seq, n, at, body } of touching.all(id(stream), run.to, run.from) as ChunkRow[]) {
        remove.run(id(stream), seq);
        const before = Math.max(0, run.from - seq);
        const after = Math.max(0, seq + n - 1 - run.to);
        if (before === 0 && after === 0) continue;
        const texts = unpackChunk(body);
        if (before > 0) insert(stream, seq, at, texts.slice(0, before));
        if (after > 0) insert(stream, run.to + 1, at, texts.slice(n - after));
      }
    },
    clear(stream: Stream): void {
      database.prepare('DELETE FROM chunks WHERE stream = ?').run(id(stream));
    },
    /** Oldest first. */
    sizes: (stream: Stream): Bytes[] => sizes.all(id(stream)) as Bytes[],
    /** What the oldest `count` chunks hold; chunks of a stream follow each other without holes. */
    spanOf(stream: Stream, count: number): (Run & { records: number }) | undefined {
      const rows = spans.all(id(stream), count) as Pick<ChunkRow, 'seq' | 'n'>[];
      const [first, last] = [rows[0], rows.at(-1)];
      if (!first || !last) return undefined;
      return {
        from: first.seq,
        to: last.seq + last.n - 1,
        records: rows.reduce((sum, row) => sum + row.n, 0),
      };
    },
    totals: (stream: Stream) => totals.get(id(stream)) as { n: number; bytes: Bytes; at: Millis | null },
  };
}
