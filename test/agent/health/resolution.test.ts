import { expect, it } from 'vitest';
import { atResolution } from '../../../agent/src/health/resolution.ts';

it('metrics are told as finely as was declared for each, and what is not finite is left out', () => {
  expect(
    atResolution({
      cpu: 0.123456,
      temp_c: 51.26,
      disk_free_mb: 80123.6,
      own_metric: 0.123456,
      load_per_cpu: Number.NaN,
      rss_mb: Number.POSITIVE_INFINITY,
    }),
  ).toEqual({ cpu: 0.123, temp_c: 51.3, disk_free_mb: 80124, own_metric: 0.1235 });
});
