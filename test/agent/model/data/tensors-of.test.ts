import type { Content, Numbers } from '@skein/agent/model/data/samples.ts';
import { tensorsFrom } from '@skein/agent/model/data/tensors-of.ts';
import { Thinned } from '@skein/agent/model/data/thinned.ts';
import type { TensorSpec } from '@skein/protocol/manifest.ts';
import { describe, expect, it } from 'vitest';

const spec = (shape: number[], type: TensorSpec['type'] = 'float32', name = 'x'): TensorSpec => ({
  name,
  type,
  shape,
});
const sample = (content: Content) => ({ where: 'data sample 3', truth: undefined, content });
const array = (shape: number[], values: Numbers = new Float64Array(shape.reduce((a, b) => a * b, 1))) =>
  sample({ kind: 'values', shape, values });

describe('a sample as tensors', () => {
  it.each([
    [[-1, 4], [4], [1, 4]],
    [[1, 1, 2, 2], [4], [1, 1, 2, 2]],
    [
      [1, 1, 2, 2],
      [2, 2],
      [1, 1, 2, 2],
    ],
    [
      [-1, 4],
      [2, 2],
      [1, 4],
    ],
    [
      [-1, -1, 3],
      [5, 3],
      [1, 5, 3],
    ],
    [[-1, -1, 3], [6], [1, 2, 3]],
    [
      [-1, -1, -1],
      [2, 3],
      [1, 2, 3],
    ],
    [[], [1], []],
  ])('declared %j, given %j becomes %j', (declared, given, dims) => {
    expect(tensorsFrom(array(given), [spec(declared)]).x!.dims).toEqual(dims);
  });

  it.each([
    [[-1, 4], [5], '5 values given, `x` [?, 4] takes 4'],
    [
      [-1, 2, 3, 3],
      [3, 3, 2],
      'a sample of shape [3, 3, 2] given, `x` [?, 2, 3, 3] takes another order of axes',
    ],
    [[-1, -1, -1], [6], 'several free dimensions, the sample is [6]'],
  ])('declared %j, given %j is refused: %s', (declared, given, words) => {
    expect(() => tensorsFrom(array(given), [spec(declared)])).toThrow(
      expect.objectContaining({
        code: 'TENSOR_INVALID',
        message: expect.stringContaining(words),
      }),
    );
  });

  it.each([
    ['uint8', 256],
    ['uint8', -1],
    ['int8', 0.5],
    ['int32', 2 ** 31],
    ['int64', 1.5],
    ['int64', Number.NaN],
    ['bool', 2],
  ] as const)('of %s refuses %s and never wraps it', (type, value) => {
    const one = array([1], Float64Array.of(value));
    expect(() => tensorsFrom(one, [spec([1], type)])).toThrow(/data sample 3: .* does not fit `x` of type/);
  });

  it('of 64-bit integers keeps every bit', () => {
    const exact = array([1], BigInt64Array.of(2n ** 53n + 1n));
    expect(tensorsFrom(exact, [spec([1], 'int64')]).x!.data).toEqual(BigInt64Array.of(2n ** 53n + 1n));
    expect(() => tensorsFrom(exact, [spec([1])])).not.toThrow(/undefined/);
    const beyond = array([1], BigUint64Array.of(2n ** 63n));
    expect(() => tensorsFrom(beyond, [spec([1], 'int64')])).toThrow(/does not fit/);
  });

  it('for several inputs takes them by name, and says which is missing or unknown', () => {
    const one = { shape: [2], values: Float64Array.of(1, 2) };
    const specs = [spec([-1, 2], 'int64', 'ids'), spec([-1, 2], 'float32', 'mask')];
    const both = tensorsFrom(sample({ kind: 'named', arrays: { mask: one, ids: one } }), specs);
    expect(both.ids!.data).toEqual(BigInt64Array.of(1n, 2n));
    expect(() => tensorsFrom(sample({ kind: 'named', arrays: { ids: one } }), specs)).toThrow(
      /`mask` is missing/,
    );
    expect(() => tensorsFrom(sample({ kind: 'named', arrays: { idx: one, ids: one } }), specs)).toThrow(
      /no input `idx`/,
    );
    expect(() => tensorsFrom(array([2]), specs)).toThrow(/takes 2 inputs: ids, mask/);
  });

  it('that is a picture asks for a preprocessing', () => {
    const picture = sample({ kind: 'picture', picture: { format: 'png', bytes: new Uint8Array() } });
    expect(() => tensorsFrom(picture, [spec([1])])).toThrow(
      expect.objectContaining({ fix: expect.stringContaining('--preprocess') }),
    );
  });
});

describe('thinning a stream of unknown length', () => {
  it.each([1, 7, 8, 9, 1000, 12_345])('keeps at most 8 of %i, evenly spaced from the first on', (length) => {
    const thinned = new Thinned<number>(8);
    for (let i = 0; i < length; i++) thinned.add(i);
    const { items } = thinned;
    expect(items.length).toBeLessThanOrEqual(8);
    expect(items.length).toBeGreaterThanOrEqual(Math.min(length, 4));
    const stride = items.length > 1 ? items[1]! - items[0]! : 1;
    expect(items).toEqual(items.map((_, i) => i * stride));
    expect(thinned.seen).toBe(length);
  });
});
