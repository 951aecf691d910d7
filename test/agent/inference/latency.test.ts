import { LatencyHistogram, RunStats } from '@skein/agent/inference/latency.ts';
import { describe, expect, it } from 'vitest';
import { Chance } from '../../sim/seeded.ts';

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

  it('say what a model surely takes only when chance does not explain it', () => {
    const histogram = new LatencyHistogram();
    const add = (...values: number[]) => {
      for (const value of values) histogram.add(value);
    };
    add(300, 320, 40_000, 41_000);
    expect(histogram.p95AtLeast()).toBeLessThan(360);
    add(42_000);
    expect(histogram.p95AtLeast()).toBeGreaterThan(250);
    expect(histogram.p95AtLeast()).toBeLessThan(40_000);
    add(43_000, 44_000, 45_000);
    expect(histogram.p95AtLeast()).toBeGreaterThan(39_000 / 1.1);
    expect(histogram.p95AtLeast()).toBeLessThanOrEqual(histogram.p95());
  });

  it('are surely at least what they are said to be in all but one of a hundred models', () => {
    const chance = new Chance(20261126);
    let wrong = 0;
    for (let model = 0; model < 500; model++) {
      const histogram = new LatencyHistogram();
      let above = false;
      for (let i = 0; i < 200; i++) {
        histogram.add(chance.is(0.05) ? 40_000 : 300);
        above ||= histogram.p95AtLeast() > 10_000;
      }
      if (above) wrong++;
    }
    expect(wrong / 500).toBeLessThan(0.01);
  });

  it('do not take a busy machine for a slow model, and call a model slow that is', () => {
    const [busy, slow] = [new RunStats(), new RunStats()];
    const add = (stats: RunStats, us: number, times: number) => {
      for (let i = 0; i < times; i++) stats.succeeded(us, true);
    };
    // Ten runs in a row meet another program; before and after they are as ever.
    add(busy, 300, 3);
    add(busy, 40_000, 10);
    expect(busy.snapshot().p95LatencyUs).toBeGreaterThan(39_000);
    expect(busy.snapshot().p95AtLeastUs).toBeLessThan(360);
    add(slow, 40_000, 14);
    expect(slow.snapshot().p95AtLeastUs).toBe(0);
    add(slow, 40_000, 1);
    expect(slow.snapshot().p95AtLeastUs).toBeGreaterThan(39_000 / 1.1);
  });

  it.each([
    ['a machine that is busy for fifteen of its first runs', (run: number) => run >= 4 && run < 19, 0],
    ['a model that is slow on one input of thirty', (_: number, chance: Chance) => chance.is(1 / 30), 0.01],
    ['a model that is slow on three inputs of ten', (_: number, chance: Chance) => chance.is(0.3), 1],
  ])('take %s for what it is, once there are as many runs as a trial asks for', (_, isSlow, called) => {
    const chance = new Chance(20261127);
    const said = Array.from({ length: 100 }, () => {
      const stats = new RunStats();
      for (let run = 0; run < 300; run++) {
        stats.succeeded(isSlow(run, chance) ? 40_000 : 300, true);
        if (run >= 19 && stats.snapshot().p95AtLeastUs > 10_000) return true;
      }
      return false;
    });
    const share = said.filter(Boolean).length / said.length;
    expect(Math.abs(share - called)).toBeLessThanOrEqual(0.05);
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
