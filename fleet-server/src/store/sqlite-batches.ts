/**
 * Sealed batches as they came, the watermark of each (device, stream, epoch), and the gaps devices told of.
 * One row per batch: records are decoded when somebody asks, not when they arrive.
 */

import { isRecord } from '@skein/protocol/batch/check-record.ts';
import type { Gap } from '@skein/protocol/batch/header.ts';
import { type OpenedBatch, openBatch, readRecords } from '@skein/protocol/batch/sealed.ts';
import type { RecordOf } from '@skein/protocol/records.ts';
import type { Stream } from '@skein/protocol/topics.ts';
import type { Millis, Sha256Hex } from '@skein/protocol/units.ts';
import type { Kysely } from 'kysely';
import type { Watermark } from '../ingest/accept-batch.ts';
import { nativeCodecs } from '../node-codecs.ts';
import type { Tables } from './schema.ts';

/** The store or a transaction on it. */
type Db = Kysely<Tables>;

export interface StreamKey {
  device: string;
  stream: Stream;
  epoch: string;
}

export const keyOf = ({ device, stream, epoch }: StreamKey): string => `${device}/${stream}/${epoch}`;

/** By {@link keyOf}; what the server has never seen is not in it. */
export async function readWatermarks(db: Db, keys: readonly StreamKey[]): Promise<Map<string, Watermark>> {
  const rows = await db
    .selectFrom('streams')
    .select(['device', 'stream', 'epoch', 'next_seq', 'head'])
    .where('device', 'in', [...new Set(keys.map(({ device }) => device))])
    .where('epoch', 'in', [...new Set(keys.map(({ epoch }) => epoch))])
    .execute();
  return new Map(rows.map((row) => [keyOf(row as StreamKey), { nextSeq: row.next_seq, head: row.head }]));
}

/** Chain head of the batch stored under this very number. */
export async function readStoredHead(db: Db, key: StreamKey, seq: number): Promise<Sha256Hex | undefined> {
  const row = await db
    .selectFrom('batches')
    .select('bytes')
    .where('device', '=', key.device)
    .where('stream', '=', key.stream)
    .where('epoch', '=', key.epoch)
    .where('seq', '=', seq)
    .executeTakeFirst();
  return row && openBatch(row.bytes).head;
}

export async function readGaps(
  db: Db,
  key: StreamKey,
  range: { from: number; to: number },
): Promise<{ from: number; to: number }[]> {
  return db
    .selectFrom('gaps')
    .select(['from_seq as from', 'to_seq as to'])
    .where('device', '=', key.device)
    .where('stream', '=', key.stream)
    .where('epoch', '=', key.epoch)
    .where('from_seq', '<=', range.to)
    .where('to_seq', '>=', range.from)
    .execute();
}

export interface AcceptedBatch {
  batch: OpenedBatch;
  bytes: Uint8Array;
  records: readonly unknown[];
  next: Watermark;
  gaps: readonly Gap[];
  receivedAt: Millis;
}

export async function insertGaps(db: Db, { batch, gaps, receivedAt }: AcceptedBatch): Promise<void> {
  const { device, stream, epoch } = batch.header;
  const rows = gaps.map(({ from, to, reason }) => {
    return { device, stream, epoch, from_seq: from, to_seq: to, reason, at: receivedAt };
  });
  await db.insertInto('gaps').values(rows).execute();
}

/** Batches in the order they were accepted, and where that leaves their streams; inside the caller's transaction. */
export async function insertBatches(db: Db, accepted: readonly AcceptedBatch[]): Promise<void> {
  const rows = accepted.filter(({ batch }) => batch.header.n > 0).map(batchRow);
  if (rows.length > 0) await db.insertInto('batches').values(rows).execute();
  const streams = new Map<string, ReturnType<typeof streamRow>>();
  for (const one of accepted) {
    const key = keyOf(one.batch.header);
    streams.set(key, streamRow(one, streams.get(key)));
  }
  if (streams.size === 0) return;
  await db
    .insertInto('streams')
    .values([...streams.values()])
    .onConflict((c) =>
      c.columns(['device', 'stream', 'epoch']).doUpdateSet((eb) => ({
        next_seq: eb.ref('excluded.next_seq'),
        head: eb.ref('excluded.head'),
        updated_at: eb.ref('excluded.updated_at'),
        stored: eb('streams.stored', '+', eb.ref('excluded.stored')),
        observed: eb('streams.observed', '+', eb.ref('excluded.observed')),
      })),
    )
    .execute();
}

interface Sums {
  stored: number;
  observed: number;
}

/** @param before of the same stream in this very group */
function streamRow({ batch, next, receivedAt }: AcceptedBatch, before: Sums = { stored: 0, observed: 0 }) {
  const { device, stream, epoch, ordinal, n, observed } = batch.header;
  const mark = { next_seq: next.nextSeq, head: next.head, updated_at: receivedAt };
  const sums = { stored: before.stored + n, observed: before.observed + observed };
  return { device, stream, epoch, ordinal, ...sums, ...mark };
}

function batchRow({ batch, bytes, records, receivedAt }: AcceptedBatch) {
  const { device, stream, epoch, seq, n } = batch.header;
  const times = records.map((record) => timeOf(record, receivedAt));
  const span = { first_ts: Math.min(...times), last_ts: Math.max(...times) };
  return { device, stream, epoch, seq, n, received_at: receivedAt, bytes, ...span };
}

/** A record of a later version may be of any shape; it is filed under the time it came. */
function timeOf(record: unknown, otherwise: Millis): Millis {
  const ts = (record as { ts?: unknown } | null)?.ts;
  return typeof ts === 'number' && Number.isFinite(ts) ? Math.round(ts) : otherwise;
}

/** An incident that stays until a person resolves it: the same numbers were told twice, differently. */
export async function reportFork(db: Db, key: StreamKey, seq: number, at: Millis): Promise<void> {
  await db
    .insertInto('incidents')
    .values({
      id: `forked-${key.stream}-${key.epoch}`,
      device: key.device,
      code: 'IDENTITY_CLONED',
      severity: 'critical',
      start_time: at,
      end_time: null,
      source: key.stream,
      detail: `two different batches for ${key.stream} ${seq}: a copied disk, or two agents with one identity`,
    })
    .onConflict((c) => c.columns(['device', 'id']).doNothing())
    .execute();
}

export interface SeriesQuery {
  device: string;
  /** Both inclusive, by the record's own time. */
  fromMs: Millis;
  toMs: Millis;
  /** At most this many records, the newest. */
  limit: number;
}

/** Batches decoded at a time. */
const PAGE = 16;

/** Records of a time span, oldest first; what this version does not understand is left out. */
export async function readSeries<S extends Stream>(
  db: Db,
  stream: S,
  { device, fromMs, toMs, limit }: SeriesQuery,
): Promise<RecordOf[S][]> {
  const newest: RecordOf[S][] = [];
  for (let page = 0; newest.length < limit; page++) {
    const rows = await db
      .selectFrom('batches')
      .select('bytes')
      .where('device', '=', device)
      .where('stream', '=', stream)
      .where('last_ts', '>=', fromMs)
      .where('first_ts', '<=', toMs)
      .orderBy('last_ts', 'desc')
      .offset(page * PAGE)
      .limit(PAGE)
      .execute();
    for (const { bytes } of rows) {
      const records = readRecords(openBatch(bytes), nativeCodecs).filter((record) =>
        isRecord(stream, record),
      );
      newest.push(...records.filter(({ ts }) => ts >= fromMs && ts <= toMs));
    }
    if (rows.length < PAGE) break;
  }
  return newest.sort((a, b) => a.ts - b.ts).slice(-limit);
}

/** How many records of a stream are stored, per device. */
export async function countStored(db: Db, stream: Stream): Promise<Map<string, number>> {
  const rows = await db
    .selectFrom('streams')
    .select((eb) => ['device', eb.fn.sum<number>('stored').as('stored')])
    .where('stream', '=', stream)
    .groupBy('device')
    .execute();
  return new Map(rows.map((row) => [row.device, Number(row.stored)]));
}
