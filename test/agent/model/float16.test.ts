import { float16Bits, toFloat16 } from '@skein/agent/model/float16.ts';
import { seededUniform } from '@skein/protocol/drift/bootstrap.ts';
import { describe, expect, it } from 'vitest';

/** The runtime's own rounding. */
const reference = (value: number): number => {
  const view = new DataView(new ArrayBuffer(2));
  (view as unknown as { setFloat16(at: number, value: number): void }).setFloat16(0, value);
  return view.getUint16(0);
};
const fromBits = (bits: number): number => {
  const view = new DataView(new ArrayBuffer(2));
  view.setUint16(0, bits);
  return (view as unknown as { getFloat16(at: number): number }).getFloat16(0);
};

describe('float16', () => {
  it('keeps every float16 as it is', () => {
    for (let bits = 0; bits < 0x10000; bits++) {
      const value = fromBits(bits);
      if (!Number.isNaN(value)) expect(float16Bits(value)).toBe(bits);
    }
  });

  it('rounds ties to even, halfway between every two neighbours', () => {
    for (let bits = 0; bits < 0x7bff; bits++) {
      const middle = (fromBits(bits) + fromBits(bits + 1)) / 2;
      expect(float16Bits(middle)).toBe(bits + (bits & 1));
    }
  });

  it('rounds like the runtime does, over all magnitudes', () => {
    const seed = 5;
    const uniform = seededUniform(seed);
    for (let i = 0; i < 50_000; i++) {
      const value = Math.fround((2 * uniform() - 1) * 2 ** (uniform() * 60 - 40));
      expect(float16Bits(value), `seed ${seed}, ${value}`).toBe(reference(value));
    }
    expect(Number.isNaN(fromBits(float16Bits(Number.NaN)))).toBe(true);
    expect(float16Bits(Number.NEGATIVE_INFINITY)).toBe(0xfc00);
  });

  it('clamps what is beyond and counts what is lost', () => {
    const { bits, clamped, vanished } = toFloat16(Float32Array.of(1e6, -1e6, 65504, 1e-9, 0, 1));
    expect([...bits].map(fromBits)).toEqual([65504, -65504, 65504, 0, 0, 1]);
    expect({ clamped, vanished }).toEqual({ clamped: 2, vanished: 1 });
  });
});
