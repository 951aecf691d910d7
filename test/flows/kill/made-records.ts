/** Records that say themselves what they must be: whoever knows run and number can check every byte. */
import type { HealthRecord, PredictionRecord } from '@skein/protocol/records.ts';

export const predictionOf = (run: number, i: number): PredictionRecord => ({
  ts: 1_763_812_345_678 + run * 1_000_000 + i * 7,
  mono: i * 7,
  boot: `run-${run}`,
  source: 'kill',
  model: 'm',
  version: '1.0.0',
  label: `p-${run}-${i}`,
  score: ((run * 7919 + i * 104_729) % 1_000_003) / 1_000_003,
  alarm: i % 17 === 0 ? 1 : 0,
  latency_us: (i * 31) % 977,
});

export const healthOf = (run: number, i: number): HealthRecord => ({
  ts: 1_763_812_345_678 + run * 1_000_000 + i * 7,
  mono: i,
  boot: `run-${run}`,
  metrics: { run, i, temp_c: 40 + ((i * 13) % 97) / 10 },
});
