/**
 * Readings summed up by minute and by hour, so that a year is a page: how many, their sum, least and greatest, per
 * series. Sums of sums are exact in number, so what came late is added to what was summed up before. Pure.
 */
import type { HealthRecord, PredictionRecord } from '@skein/protocol/records.ts';
import type { Stream } from '@skein/protocol/topics.ts';
import { DAY, HOUR, MINUTE, type Millis } from '@skein/protocol/units.ts';

export const RESOLUTIONS = { minute: MINUTE, hour: HOUR } as const;
export type Resolution = keyof typeof RESOLUTIONS;
/** Points are kept together in rows of so much time: 60 minutes, 24 hours. */
export const CHUNKS: Record<Resolution, Millis> = { minute: HOUR, hour: DAY };

/** Of streams that are measurements; the others have rows of their own. */
export const ROLLED = ['predictions', 'health'] as const satisfies Stream[];

/** Series of one point; agents send about thirty. More are left out. */
const MAX_SERIES = 128;

export interface Sample {
  ts: Millis;
  values: Readonly<Record<string, number>>;
}

/** One bucket from `ts` on. All four have the same keys; sums and extremes are of finite values only. */
export interface Point {
  ts: Millis;
  n: Record<string, number>;
  sum: Record<string, number>;
  min: Record<string, number>;
  max: Record<string, number>;
}

/** As the live `state` message names them. */
export function sampleOf(stream: Stream, record: unknown): Sample | undefined {
  if (stream === 'predictions') {
    const { ts, score, latency_us, alarm } = record as PredictionRecord;
    return { ts, values: { score, latency_ms: latency_us / 1000, alarm } };
  }
  if (stream !== 'health') return undefined;
  const { ts, metrics } = record as HealthRecord;
  return { ts, values: metrics };
}

const floorTo = (ts: Millis, step: Millis): Millis => Math.floor(ts / step) * step;
export const chunkOf = (ts: Millis, resolution: Resolution): Millis => floorTo(ts, CHUNKS[resolution]);

const emptyPoint = (ts: Millis): Point => ({ ts, n: {}, sum: {}, min: {}, max: {} });

/** Points in order of time, one for each bucket that has a sample. */
export function rollUp(samples: Iterable<Sample>, resolution: Resolution): Point[] {
  const points = new Map<Millis, Point>();
  for (const { ts, values } of samples) {
    const at = floorTo(ts, RESOLUTIONS[resolution]);
    const point = points.get(at) ?? emptyPoint(at);
    points.set(at, point);
    for (const [name, value] of Object.entries(values)) {
      if (Number.isFinite(value)) add(point, name, { n: 1, sum: value, min: value, max: value });
    }
  }
  return inOrder(points);
}

interface Stat {
  n: number;
  sum: number;
  min: number;
  max: number;
}

function add({ n, sum, min, max }: Point, name: string, stat: Stat): void {
  if (Object.hasOwn(n, name)) {
    n[name]! += stat.n;
    sum[name]! += stat.sum;
    min[name] = Math.min(min[name]!, stat.min);
    max[name] = Math.max(max[name]!, stat.max);
  } else if (Object.keys(n).length < MAX_SERIES) {
    n[name] = stat.n;
    sum[name] = stat.sum;
    min[name] = stat.min;
    max[name] = stat.max;
  }
}

/** Of the same resolution. */
export function mergePoints(...lists: readonly (readonly Point[])[]): Point[] {
  const points = new Map<Millis, Point>();
  for (const other of lists.flat()) {
    const point = points.get(other.ts) ?? emptyPoint(other.ts);
    points.set(other.ts, point);
    for (const [name, n] of Object.entries(other.n)) {
      add(point, name, { n, sum: other.sum[name]!, min: other.min[name]!, max: other.max[name]! });
    }
  }
  return inOrder(points);
}

const inOrder = (points: ReadonlyMap<Millis, Point>): Point[] =>
  [...points.values()].sort((a, b) => a.ts - b.ts);

/** How long each is kept. */
export interface Policy {
  rawMs: Millis;
  minuteMs: Millis;
  hourMs: Millis;
}

export interface Question {
  fromMs: Millis;
  toMs: Millis;
  /** Points that are wanted at most. */
  limit: number;
  /** Raw records stored in that span. */
  rawRecords: number;
}

/** The finest that is still kept for the whole span and is no more points than wanted; else hours. */
export function chooseResolution(
  { fromMs, toMs, limit, rawRecords }: Question,
  policy: Policy,
  now: Millis,
): Resolution | 'raw' {
  if (fromMs >= now - policy.rawMs && rawRecords <= limit) return 'raw';
  const minutes = (toMs - fromMs) / RESOLUTIONS.minute;
  return fromMs >= now - policy.minuteMs && minutes <= limit ? 'minute' : 'hour';
}

/** A record so far from the time it came is of a clock that was wrong: kept raw, not summed up. */
const CLOCK_AHEAD: Millis = DAY;
export const isPlausible = (ts: Millis, receivedAt: Millis, { hourMs }: Policy): boolean =>
  ts <= receivedAt + CLOCK_AHEAD && ts >= receivedAt - hourMs;
