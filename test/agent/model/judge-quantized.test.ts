import { splitData } from '@skein/agent/model/calibration-data.ts';
import { Comparer, compareOutputs } from '@skein/agent/model/compare-outputs.ts';
import { DEFAULT_BOUNDS, judgeQuantized, type Measured } from '@skein/agent/model/judge-quantized.ts';
import { describe, expect, it } from 'vitest';

const output = (sqnrDb: number | null, agreement: number | null) => ({ name: 'y', sqnrDb, agreement });
const measured = (change: Partial<Measured> = {}): Measured => ({
  sqnrDb: 30,
  agreement: 0.99,
  samples: 100,
  outputs: [output(30, 0.99)],
  accuracy: null,
  p50Ms: { float: 2, quantized: 1 },
  heldOut: true,
  ...change,
});
const verdict = (change: Partial<Measured>) => judgeQuantized(measured(change), DEFAULT_BOUNDS);

describe('a quantized model', () => {
  it('is good when every bound holds', () => {
    expect(verdict({})).toEqual({ good: true, reasons: [] });
    expect(verdict({ accuracy: { float: 0.9, quantized: 0.9 - 0.015 } }).good).toBe(true);
  });

  it.each<[string, Partial<Measured>, RegExp]>([
    ['slower', { p50Ms: { float: 1, quantized: 1.01 } }, /1\.01 × the float/],
    ['of other opinion', { outputs: [output(30, 0.96)] }, /agrees with float on 96\.00%/],
    ['noisy in its second output', { outputs: [output(30, 1), output(12.3, null)] }, /12\.3 dB/],
    ['less accurate', { accuracy: { float: 0.9, quantized: 0.87 } }, /from 90\.00% to 87\.00%/],
    ['measured on what it was made from', { heldOut: false }, /calibrated on/],
  ])('is not good when it is %s', (_what, change, reason) => {
    const { good, reasons } = verdict(change);
    expect(good).toBe(false);
    expect(reasons).toEqual([expect.stringMatching(reason)]);
  });
});

describe('outputs beside each other', () => {
  const one = (values: number[], dims = [1, values.length]) => ({
    y: { type: 'float32' as const, dims, data: Float32Array.from(values) },
  });

  it('have the signal to noise of their definition', () => {
    const { sqnrDb, agreement } = compareOutputs([one([3, 4])], [one([3, 4.5])]);
    expect(sqnrDb).toBeCloseTo(10 * Math.log10(25 / 0.25), 6);
    expect(agreement).toBe(1);
  });

  it('agree by rows, not by models, and single numbers by nothing', () => {
    const found = compareOutputs([one([1, 2, 5, 4], [2, 2])], [one([2, 1, 5, 4], [2, 2])]);
    expect(found.outputs).toMatchObject([{ agreement: 0.5 }]);
    expect(compareOutputs([one([7])], [one([9])]).outputs).toMatchObject([{ agreement: null }]);
  });

  it('of integers are compared one by one', () => {
    const ints = (...values: number[]) => ({
      n: { type: 'int64' as const, dims: [values.length], data: BigInt64Array.from(values, BigInt) },
    });
    expect(compareOutputs([ints(1, 2, 3, 4)], [ints(1, 2, 3, 5)])).toMatchObject({
      agreement: 0.75,
      outputs: [{ sqnrDb: null }],
    });
  });

  it('stay finite where nothing differs, nothing is there, or something is no number', () => {
    const db = (a: number[], b: number[]) => compareOutputs([one(a)], [one(b)]).sqnrDb;
    expect([db([1, 2], [1, 2]), db([0, 0], [1, 1]), db([1, 1], [Number.NaN, 1])]).toEqual([200, -200, -200]);
    expect(new Comparer().result()).toEqual({ sqnrDb: 200, agreement: 1, samples: 0, outputs: [] });
  });
});

describe('samples', () => {
  const some = (count: number) =>
    Array.from({ length: count }, (_, i) => ({
      input: { x: { type: 'float32' as const, dims: [1], data: Float32Array.of(i) } },
    }));
  const numbers = (inputs: readonly { x?: { data: unknown } }[]) =>
    inputs.map(({ x }) => (x!.data as Float32Array)[0]);

  it('calibrate or measure, never both', () => {
    const { calibration, evaluation, heldOut } = splitData(some(100), undefined);
    const both = new Set([...numbers(calibration), ...numbers(evaluation.map(({ input }) => input))]);
    expect([calibration.length, evaluation.length, both.size, heldOut]).toEqual([75, 25, 100, true]);
  });

  it('that are too few are used for both, and that is said', () => {
    expect(splitData(some(7), undefined)).toMatchObject({ heldOut: false, warnings: [expect.any(String)] });
    expect(splitData(some(3), some(2))).toMatchObject({ heldOut: true });
  });

  it('are bounded in number', () => {
    expect(splitData(some(5_000), some(30_000))).toMatchObject({
      calibration: { length: 1_000 },
      evaluation: { length: 20_000 },
    });
  });

  it('must be there', () => {
    expect(() => splitData([], undefined)).toThrow(/at least one sample/);
    expect(() => splitData(some(9), [])).toThrow(/no sample to measure on/);
  });
});
