import { type CalibrationMethod, rangeOf } from '@skein/agent/model/calibrate.ts';
import { Columns } from '@skein/agent/model/columns.ts';
import { Histogram } from '@skein/agent/model/histogram.ts';
import { seededUniform } from '@skein/protocol/drift/bootstrap.ts';
import { describe, expect, it } from 'vitest';
import { normal } from './graphs.ts';

const seen = (...batches: Float32Array[]): Histogram => {
  const histogram = new Histogram();
  for (const batch of batches) histogram.add(batch);
  return histogram;
};
/** As many as need no widening. */
const line = Float32Array.from({ length: 20_020 }, (_, i) => (i % 1001) - 500);
const ALL: CalibrationMethod[] = [
  { kind: 'min-max' },
  { kind: 'percentile', keep: 0.999 },
  { kind: 'entropy' },
  { kind: 'mse' },
];

describe('calibration ranges', () => {
  it('are exact at the extremes and cut both tails evenly otherwise', () => {
    expect(rangeOf(seen(line), { kind: 'min-max' })).toEqual([-500, 500]);
    const [low, high] = rangeOf(seen(line), { kind: 'percentile', keep: 0.9 });
    expect(low).toBeCloseTo(-450, -0.5);
    expect(high).toBeCloseTo(450, -0.5);
  });

  it('of few values leave room for what was not seen', () => {
    const [low, high] = rangeOf(seen(Float32Array.of(-1, 0, 0, 2)), { kind: 'min-max' });
    expect([low, high]).toEqual([-4, 8]);
  });

  it('do not depend on the order of what was seen', () => {
    const small = line.map((value) => value / 1e4);
    for (const method of ALL) {
      expect(rangeOf(seen(small, line), method)).toEqual(rangeOf(seen(line, small), method));
    }
  });

  it.each(ALL)('by $kind lie within what was seen and are never empty', (method) => {
    const seed = 8;
    const uniform = seededUniform(seed);
    for (let round = 0; round < 40; round++) {
      const values = normal(uniform, 500, 10 ** (uniform() * 12 - 6)).map((v) =>
        round % 3 ? v : Math.max(0, v),
      );
      const [low, high] = rangeOf(seen(values), method);
      const message = `seed ${seed}, round ${round}`;
      const room = 1 + 6 / Math.sqrt(values.length);
      expect(low, message).toBeGreaterThanOrEqual(room * Math.min(0, ...values));
      expect(high, message).toBeLessThanOrEqual(room * Math.max(0, ...values));
      expect(high, message).toBeGreaterThan(low);
    }
  });

  it('by mse and entropy are not stretched by one huge outlier', () => {
    const values = Float32Array.from(normal(seededUniform(2), 200_000));
    values[7] = 40;
    const histogram = seen(values);
    // One value off by ten costs as much as the rounding of all others at that range.
    expect(rangeOf(histogram, { kind: 'mse' })[1]).toBeLessThan(35);
    expect(rangeOf(histogram, { kind: 'entropy' })[1]).toBeLessThan(12);
    expect(rangeOf(histogram, { kind: 'entropy' })[1]).toBeGreaterThan(2.5);
  });

  it('count what is no number and leave it out', () => {
    const histogram = seen(Float32Array.of(1, Number.NaN, Number.POSITIVE_INFINITY, -2));
    expect(histogram).toMatchObject({ min: -2, max: 1, count: 2, notFinite: 2 });
  });

  it('of nothing and of zeros are empty', () => {
    for (const method of ALL) {
      expect(rangeOf(seen(), method)).toEqual([0, 0]);
      expect(rangeOf(seen(new Float32Array(9)), method).map(Math.abs)).toEqual([0, 0]);
    }
  });
});

describe('columns of raw values', () => {
  const rows = (scales: number[]): Columns => {
    const columns = new Columns(scales.length);
    const uniform = seededUniform(6);
    for (let i = 0; i < 200; i++)
      columns.add(
        Float32Array.from(scales, (s) => s * (1 + uniform())),
        1,
      );
    return columns;
  };
  const weightsFor = (scales: number[]) => Float64Array.from(scales, (s) => s ** -2);

  it('of one unit lose little, whatever the weights', () => {
    const scales = new Array<number>(20).fill(3);
    expect(rows(scales).signalDb(weightsFor(scales))).toBeGreaterThan(35);
  });

  it('of different magnitudes drown where the layer needs them', () => {
    const scales = Array.from({ length: 20 }, (_, i) => 10 ** (i % 6));
    expect(rows(scales).signalDb(weightsFor(scales))).toBeLessThan(0);
  });

  it('that are constant carry nothing that could be lost', () => {
    const columns = new Columns(2);
    for (let i = 0; i < 50; i++) columns.add(Float32Array.of(1e6, 1e6), 1);
    expect(columns.signalDb(Float64Array.of(1, 1))).toBe(Number.POSITIVE_INFINITY);
  });

  it('are planes in an image', () => {
    const columns = new Columns(2);
    for (let i = 0; i < 9; i++) columns.add(Float32Array.of(i, -i, i, -i, 5, 5, 5, 5), 4);
    expect(columns.signalDb(Float64Array.of(0, 1))).toBe(Number.POSITIVE_INFINITY);
    expect(columns.signalDb(Float64Array.of(1, 0))).toBeGreaterThan(30);
  });
});
