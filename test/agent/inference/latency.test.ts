import { LatencyHistogram } from '@skein/agent/inference/latency.ts';
import { describe, expect, it } from 'vitest';

describe('latency quantiles', () => {
  it('are never understated and at most 10% above the true value', () => {
    const histogram = new LatencyHistogram();
    const values = Array.from({ length: 1000 }, (_, i) => 3 + i * i * 0.7);
    for (const value of values) histogram.add(value);
    for (const q of [0.5, 0.95, 0.99, 1]) {
      const exact = values[Math.ceil(q * values.length) - 1]!;
      expect(histogram.quantile(q)).toBeGreaterThanOrEqual(exact * 0.999999);
      expect(histogram.quantile(q)).toBeLessThan(exact * 1.1);
    }
  });

  it('do not take one pause of the scheduler among few for the model', () => {
    const histogram = new LatencyHistogram();
    for (const value of [300, 320, 310, 40_000]) histogram.add(value);
    expect(histogram.p95()).toBeLessThan(360);
    histogram.add(41_000);
    expect(histogram.p95()).toBeGreaterThan(39_000);
    expect(new LatencyHistogram().p95()).toBe(0);
  });

  it('are 0 while nothing was measured', () => {
    expect(new LatencyHistogram().quantile(0.95)).toBe(0);
  });

  it('survive what lies outside the range', () => {
    const histogram = new LatencyHistogram();
    for (const value of [0, 1e-9, 1e12]) histogram.add(value);
    expect(Number.isFinite(histogram.quantile(1))).toBe(true);
  });
});
