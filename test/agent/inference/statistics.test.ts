import { ModelStatistics } from '@skein/agent/inference/statistics.ts';
import { describe, expect, it } from 'vitest';

const run = { inputUs: 1.5, inferUs: 100, outputUs: 2 };

describe('model statistics', () => {
  it('starts with nothing, and says so in all of Triton’s fields', () => {
    const none = { count: 0, ns: 0 };
    expect(new ModelStatistics().snapshot()).toEqual({
      last_inference: 0,
      inference_count: 0,
      execution_count: 0,
      inference_stats: {
        ...{ success: none, fail: none, queue: none, compute_input: none, compute_infer: none },
        ...{ compute_output: none, cache_hit: none, cache_miss: none },
      },
      batch_stats: [],
    });
  });

  it('gives each request the times of the run it shared, and counts the run once', () => {
    const statistics = new ModelStatistics();
    for (const [rows, at] of [
      [1, 1_000],
      [3, 1_001],
    ] as const)
      statistics.requestSucceeded({ ...run, queueUs: 10, totalUs: 120 }, rows, at);
    statistics.executed({ ...run, batchSize: 4 });
    expect(statistics.snapshot()).toMatchObject({
      last_inference: 1_001,
      inference_count: 4,
      execution_count: 1,
      inference_stats: {
        success: { count: 2, ns: 240_000 },
        queue: { count: 2, ns: 20_000 },
        compute_input: { count: 2, ns: 3_000 },
        compute_infer: { count: 2, ns: 200_000 },
        compute_output: { count: 2, ns: 4_000 },
        fail: { count: 0, ns: 0 },
      },
      batch_stats: [
        {
          batch_size: 4,
          compute_input: { count: 1, ns: 1_500 },
          compute_infer: { count: 1, ns: 100_000 },
          compute_output: { count: 1, ns: 2_000 },
        },
      ],
    });
  });

  it('keeps failures apart from the times of what was answered', () => {
    const statistics = new ModelStatistics();
    statistics.requestFailed({ queueUs: 5, totalUs: 7 });
    const { inference_stats, inference_count } = statistics.snapshot();
    expect(inference_stats).toMatchObject({ fail: { count: 1, ns: 7_000 }, queue: { count: 0, ns: 0 } });
    expect(inference_count).toBe(0);
  });

  it('bounds the batch sizes: exact to 64, then by powers of two, and every run is in one of them', () => {
    const statistics = new ModelStatistics();
    const sizes = [0, 1, 2, 63, 64, 65, 128, 129, 1_000, 2 ** 20, 2 ** 31, 2 ** 31 + 1];
    for (const batchSize of sizes) statistics.executed({ ...run, batchSize });
    for (let batchSize = 1; batchSize < 5_000; batchSize++) statistics.executed({ ...run, batchSize });
    const { batch_stats, execution_count } = statistics.snapshot();
    expect(batch_stats.map(({ batch_size }) => batch_size)).toEqual([
      ...Array.from({ length: 64 }, (_, i) => i + 1),
      ...[128, 256, 512, 1024, 2048, 4096, 8192, 2 ** 20, 2 ** 31],
    ]);
    const counted = batch_stats.reduce((sum, { compute_infer }) => sum + compute_infer.count, 0);
    expect(counted).toBe(execution_count);
    expect(counted).toBe(sizes.length + 4_999);
  });
});
