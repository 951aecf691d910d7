/** Stored records as columns for a plot, named as the live `state` message names them; `ts` ascending. */
import type { Series } from '@skein/protocol/api.ts';
import type { Millis } from '@skein/protocol/units.ts';
import { chooseResolution, type Point, type Policy } from '../store/rollup.ts';
import { readSeries, type SeriesQuery } from '../store/sqlite-batches.ts';
import { countRaw, readPoints } from '../store/sqlite-rollups.ts';
import type { Store } from '../store/sqlite-store.ts';

/** Metrics that one health series may have; agents send about thirty. */
const MAX_METRICS = 128;

export type Measured = 'predictions' | 'health';

export const newestSeries = (
  store: Store,
  stream: Measured,
  device: string,
  limit: number,
): Promise<Series> => rawSeries(store, stream, { device, fromMs: 0, toMs: Number.MAX_SAFE_INTEGER, limit });

const rawSeries = (store: Store, stream: Measured, query: SeriesQuery): Promise<Series> =>
  stream === 'health' ? healthSeries(store, query) : predictionSeries(store, query);

async function predictionSeries(store: Store, query: SeriesQuery): Promise<Series> {
  const records = await readSeries(store, 'predictions', query);
  return {
    ts: records.map((r) => r.ts),
    values: {
      score: records.map((r) => r.score),
      latency_ms: records.map((r) => r.latency_us / 1000),
      alarm: records.map((r) => r.alarm),
    },
    labels: records.map((r) => r.label),
  };
}

async function healthSeries(store: Store, query: SeriesQuery): Promise<Series> {
  const records = await readSeries(store, 'health', query);
  const names = [...new Set(records.flatMap((r) => Object.keys(r.metrics)))].slice(0, MAX_METRICS);
  return {
    ts: records.map((r) => r.ts),
    values: Object.fromEntries(names.map((name) => [name, records.map((r) => r.metrics[name] ?? null)])),
  };
}

/** As fine as is kept of the whole span and fits the limit. */
export async function seriesBetween(
  store: Store,
  query: SeriesQuery & { stream: Measured },
  policy: Policy,
  now: Millis,
): Promise<Series> {
  const { stream } = query;
  const resolution = chooseResolution({ ...query, rawRecords: await countRaw(store, query) }, policy, now);
  if (resolution === 'raw') return { ...(await rawSeries(store, stream, query)), resolution };
  const points = await readPoints(store, { ...query, resolution }, policy);
  return { ...columnsOf(points), resolution };
}

/** Means, and beside each the least and the greatest. */
function columnsOf(points: readonly Point[]): Series {
  const names = [...new Set(points.flatMap(({ n }) => Object.keys(n)))].slice(0, MAX_METRICS);
  const column = (of: (point: Point, name: string) => number, name: string) =>
    points.map((point) => (Object.hasOwn(point.n, name) ? of(point, name) : null));
  const values = names.flatMap((name) => [
    [name, column(({ n, sum }) => sum[name]! / n[name]!, name)],
    [`${name}_min`, column(({ min }) => min[name]!, name)],
    [`${name}_max`, column(({ max }) => max[name]!, name)],
  ]);
  return { ts: points.map(({ ts }) => ts), values: Object.fromEntries(values) };
}
