/** Stored records as columns for a plot, named as the live `state` message names them; `ts` ascending. */
import type { Series } from '@skein/protocol/api.ts';
import { readSeries } from '../store/sqlite-batches.ts';
import type { Store } from '../store/sqlite-store.ts';

/** Metrics that one health series may have; agents send about thirty. */
const MAX_METRICS = 128;

const newest = (device: string, limit: number) => ({
  device,
  fromMs: 0,
  toMs: Number.MAX_SAFE_INTEGER,
  limit,
});

export async function predictionSeries(store: Store, device: string, limit: number): Promise<Series> {
  const records = await readSeries(store, 'predictions', newest(device, limit));
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

export async function healthSeries(store: Store, device: string, limit: number): Promise<Series> {
  const records = await readSeries(store, 'health', newest(device, limit));
  const names = [...new Set(records.flatMap((r) => Object.keys(r.metrics)))].slice(0, MAX_METRICS);
  return {
    ts: records.map((r) => r.ts),
    values: Object.fromEntries(names.map((name) => [name, records.map((r) => r.metrics[name] ?? null)])),
  };
}
