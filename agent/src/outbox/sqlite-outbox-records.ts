/** Records that leave an epoch for the next one: out of sealed batches, and into chunks again. */
import { openBatch, readRecords } from '@skein/protocol/batch/sealed.ts';
import type { Stream } from '@skein/protocol/topics.ts';
import type { Millis } from '@skein/protocol/units.ts';
import { nativeZstd } from '../node-zstd.ts';
import type { ChunkQueries, RecordRow } from './sqlite-outbox-chunks.ts';
import { isAlarm } from './urgent.ts';

/** Records in a chunk that carries them over. */
const CARRY = 256;

/** Numbered from 0 on in an epoch that has nothing yet. */
export function carryOver(
  chunks: ChunkQueries,
  stream: Stream,
  records: readonly Omit<RecordRow, 'seq'>[],
): void {
  for (let seq = 0; seq < records.length; seq += CARRY) {
    const some = records.slice(seq, seq + CARRY);
    chunks.insert(stream, {
      seq,
      at: some[0]!.at,
      texts: some.map(({ body }) => body),
      leftOut: some.reduce((sum, { leftOut }) => sum + leftOut, 0),
      alarms: some.filter(({ body }) => isAlarm(stream, JSON.parse(body))).length,
    });
  }
}

/** The records of a sealed batch as they were before it was sealed. */
export function recordsOf(bytes: Uint8Array, at: Millis): RecordRow[] {
  const batch = openBatch(bytes);
  const { seq, observed, kept } = batch.header;
  return readRecords(batch, { zstd: nativeZstd }).map((record, i) => ({
    seq: seq + i,
    at,
    body: JSON.stringify(record),
    leftOut: i === 0 ? observed - kept : 0,
  }));
}
