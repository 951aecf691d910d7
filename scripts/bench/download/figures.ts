/** The figures of this benchmark, with a bar and without. */
import type { Measurement } from '../measurement.ts';

export const LONG = process.env.SKEIN_LONG === '1';

export const observed = (metric: string, value: number, unit: string): Measurement => ({
  bench: 'download',
  metric,
  value,
  unit,
  bar: null,
  holds: null,
});

export const held = (metric: string, value: number, unit: string, most: number): Measurement => ({
  ...observed(metric, value, unit),
  bar: `≤ ${most}`,
  holds: value <= most,
});
