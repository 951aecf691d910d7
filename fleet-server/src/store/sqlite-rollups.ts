/**
 * Raw batches → minutes → hours. Each step is bounded and one transaction: what was summed up and the mark that it was
 * are committed together, and only what is marked is ever removed, so a crash at any moment counts nothing twice and
 * loses nothing.
 *
 * A row of points: u32 bytes once inflated | u32 points | deflate of their columns (`packRecords`), little-endian.
 */
import { packRecords, unpackRecords } from '@skein/protocol/batch/body.ts';
import { isRecord } from '@skein/protocol/batch/check-record.ts';
import { openBatch, readRecords } from '@skein/protocol/batch/sealed.ts';
import type { Stream } from '@skein/protocol/topics.ts';
import { HOUR, type Millis } from '@skein/protocol/units.ts';
import { type Kysely, sql } from 'kysely';
import { nativeCodecs } from '../node-codecs.ts';
import {
  CHUNKS,
  chunkOf,
  isPlausible,
  mergePoints,
  type Point,
  type Policy,
  RESOLUTIONS,
  type Resolution,
  ROLLED,
  rollUp,
  type Sample,
  sampleOf,
} from './rollup.ts';
import type { Tables } from './schema.ts';

type Db = Kysely<Tables>;

/** Literals: SQLite sees only then that the partial indices fit. */
const NOT_YET = sql.lit(0);
const DONE = sql.lit(1);

/** Of one step. */
const STEP = { batches: 64, records: 8192, rows: 256 };
/** Batches of an hour are summed up together: a row of points is then written once or twice, not sixty times. */
const SETTLED_MS: Millis = HOUR;
/** Raw batches that a question may still have to sum up by itself. */
const MAX_UNROLLED = 512;

interface Unrolled {
  epoch: string;
  seq: number;
  received_at: number;
  bytes: Uint8Array;
}

/** Sums up some batches of one stream that came an hour ago or earlier; how many, 0: none is left. */
export async function rollStep(db: Db, policy: Policy, now: Millis): Promise<number> {
  const oldest = await db
    .selectFrom('batches')
    .select(['device', 'stream'])
    .where('rolled', '=', NOT_YET)
    .where('received_at', '<', now - SETTLED_MS)
    .orderBy('received_at')
    .limit(1)
    .executeTakeFirst();
  if (!oldest) return 0;
  return db.transaction().execute(async (tx) => {
    const batches = await unrolledOf(tx, oldest);
    const stream = oldest.stream as Stream;
    const samples = batches.flatMap((batch) => samplesIn(stream, batch, policy));
    for (const resolution of Object.keys(RESOLUTIONS) as Resolution[]) {
      await addPoints(tx, { ...oldest, resolution }, rollUp(samples, resolution));
    }
    for (const { epoch, seq } of batches) {
      await tx
        .updateTable('batches')
        .set({ rolled: 1 })
        .where('device', '=', oldest.device)
        .where('stream', '=', stream)
        .where('epoch', '=', epoch)
        .where('seq', '=', seq)
        .execute();
    }
    return batches.length;
  });
}

/** Those that came first, up to what one step may decode. */
async function unrolledOf(
  db: Db,
  { device, stream }: { device: string; stream: string },
): Promise<Unrolled[]> {
  const rows = await db
    .selectFrom('batches')
    .select(['epoch', 'seq', 'n', 'received_at', 'bytes'])
    .where('rolled', '=', NOT_YET)
    .where('device', '=', device)
    .where('stream', '=', stream)
    .orderBy('received_at')
    .limit(STEP.batches)
    .execute();
  let records = 0;
  return rows.filter(({ n }, i) => {
    records += n;
    return i === 0 || records <= STEP.records;
  });
}

const isRolled = (stream: Stream): boolean => (ROLLED as readonly Stream[]).includes(stream);

function samplesIn(stream: Stream, { bytes, received_at }: Unrolled, policy: Policy): Sample[] {
  if (!isRolled(stream)) return [];
  return recordsIn(bytes)
    .filter((record) => isRecord(stream, record))
    .flatMap((record) => sampleOf(stream, record) ?? [])
    .filter(({ ts }) => isPlausible(ts, received_at, policy));
}

/** They could be read when they were accepted; what a disk has spoilt since must not stop the rest. */
function recordsIn(bytes: Uint8Array): unknown[] {
  try {
    return readRecords(openBatch(bytes), nativeCodecs);
  } catch {
    return [];
  }
}

interface ChunkKey {
  device: string;
  stream: string;
  resolution: Resolution;
}

async function addPoints(db: Db, key: ChunkKey, points: readonly Point[]): Promise<void> {
  const { device, stream, resolution } = key;
  for (const [chunk, fresh] of Map.groupBy(points, (point) => chunkOf(point.ts, resolution))) {
    const known = await db
      .selectFrom('rollups')
      .select('bytes')
      .where('device', '=', device)
      .where('stream', '=', stream)
      .where('resolution', '=', resolution)
      .where('chunk', '=', chunk)
      .executeTakeFirst();
    const bytes = encodePoints(known ? mergePoints(decodePoints(known.bytes), fresh) : fresh);
    await db
      .insertInto('rollups')
      .values({ device, stream, resolution, chunk, bytes })
      .onConflict((c) => c.columns(['device', 'stream', 'resolution', 'chunk']).doUpdateSet({ bytes }))
      .execute();
  }
}

export function encodePoints(points: readonly Point[]): Uint8Array {
  const { deflated, inflatedBytes } = packRecords(points);
  const bytes = new Uint8Array(8 + deflated.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, inflatedBytes, true);
  view.setUint32(4, points.length, true);
  bytes.set(deflated, 8);
  return bytes;
}

export function decodePoints(bytes: Uint8Array): Point[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const body = { deflated: bytes.subarray(8), inflatedBytes: view.getUint32(0, true) };
  return unpackRecords(body, view.getUint32(4, true), nativeCodecs.inflate) as Point[];
}

/** Removes what is kept long enough: raw batches that are summed up, then old points; how many rows, 0: none left. */
export async function expireStep(db: Db, policy: Policy, now: Millis): Promise<number> {
  const raw = await expireRaw(db, now - policy.rawMs, ROLLED);
  if (raw > 0) return raw;
  const others = await expireRaw(db, now - policy.hourMs, ['drift', 'events']);
  if (others > 0) return others;
  const windows = await expireWindows(db, now - policy.hourMs);
  if (windows > 0) return windows;
  const minutes = await expirePoints(db, 'minute', now - policy.minuteMs);
  return minutes > 0 ? minutes : expirePoints(db, 'hour', now - policy.hourMs);
}

/** By when they came, so that a wrong clock on a device removes nothing. */
function expireRaw(db: Db, before: Millis, streams: readonly Stream[]): Promise<number> {
  return db.transaction().execute(async (tx) => {
    const rows = await tx
      .selectFrom('batches')
      .select(['device', 'stream', 'epoch', 'seq', 'n'])
      .where('rolled', '=', DONE)
      .where('stream', 'in', streams)
      .where('received_at', '<', before)
      .limit(STEP.rows)
      .execute();
    for (const { device, stream, epoch, seq, n } of rows) {
      const same = { device, stream, epoch };
      await tx
        .deleteFrom('batches')
        .where((eb) => eb.and({ ...same, seq }))
        .execute();
      await tx
        .updateTable('streams')
        .set((eb) => ({ expired: eb('expired', '+', n) }))
        .where((eb) => eb.and(same))
        .execute();
    }
    return rows.length;
  });
}

/** Drift windows go with the batches that they came in. */
async function expireWindows(db: Db, before: Millis): Promise<number> {
  const old = db
    .selectFrom('drift_windows')
    .select(sql.ref('rowid').as('rowid'))
    .where('received_at', '<', before)
    .limit(STEP.rows);
  const gone = await db.deleteFrom('drift_windows').where(sql.ref('rowid'), 'in', old).executeTakeFirst();
  return Number(gone.numDeletedRows);
}

async function expirePoints(db: Db, resolution: Resolution, before: Millis): Promise<number> {
  const old = db
    .selectFrom('rollups')
    .select(['device', 'stream', 'resolution', 'chunk'])
    .where('resolution', '=', resolution)
    .where('chunk', '<', before - CHUNKS[resolution])
    .limit(STEP.rows);
  const rows = await old.execute();
  for (const row of rows)
    await db
      .deleteFrom('rollups')
      .where((eb) => eb.and(row))
      .execute();
  return rows.length;
}

export interface PointsQuery {
  device: string;
  stream: Stream;
  resolution: Resolution;
  fromMs: Millis;
  toMs: Millis;
  /** The newest points. */
  limit: number;
}

/** Points of a span, what is not yet summed up included. */
export async function readPoints(db: Db, query: PointsQuery, policy: Policy): Promise<Point[]> {
  const { device, stream, resolution, fromMs, toMs, limit } = query;
  const rows = await db
    .selectFrom('rollups')
    .select('bytes')
    .where('device', '=', device)
    .where('stream', '=', stream)
    .where('resolution', '=', resolution)
    .where('chunk', '>=', chunkOf(fromMs, resolution))
    .where('chunk', '<=', toMs)
    .orderBy('chunk', 'desc')
    .limit(Math.ceil((limit * RESOLUTIONS[resolution]) / CHUNKS[resolution]) + 1)
    .execute();
  const fresh = await db
    .selectFrom('batches')
    .select(['epoch', 'seq', 'received_at', 'bytes'])
    .where('rolled', '=', NOT_YET)
    .where('device', '=', device)
    .where('stream', '=', stream)
    .where('last_ts', '>=', fromMs)
    .where('first_ts', '<=', toMs)
    .orderBy('received_at', 'desc')
    .limit(MAX_UNROLLED)
    .execute();
  const samples = fresh.flatMap((batch) => samplesIn(stream, batch, policy));
  const points = mergePoints(
    rows.flatMap(({ bytes }) => decodePoints(bytes)),
    rollUp(samples, resolution),
  );
  const least = fromMs - RESOLUTIONS[resolution];
  return points.filter(({ ts }) => ts > least && ts <= toMs).slice(-limit);
}

/** Raw records of a span. */
export async function countRaw(
  db: Db,
  { device, stream, fromMs, toMs }: Omit<PointsQuery, 'resolution' | 'limit'>,
): Promise<number> {
  const row = await db
    .selectFrom('batches')
    .select((eb) => eb.fn.sum<number>('n').as('n'))
    .where('device', '=', device)
    .where('stream', '=', stream)
    .where('last_ts', '>=', fromMs)
    .where('first_ts', '<=', toMs)
    .executeTakeFirst();
  return Number(row?.n ?? 0);
}
