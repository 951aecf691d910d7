import { float16Bits as toHalf } from '@skein/agent/model/float16.ts';
import { halfOf as fromHalf } from '@skein/agent/pipeline/tensor-numbers.ts';
import { describe, expect, it } from 'vitest';

describe('half precision', () => {
  it('goes there and back for every pattern of bits', () => {
    for (let bits = 0; bits < 65_536; bits++) {
      const value = fromHalf(bits);
      if (Number.isNaN(value)) expect(Number.isNaN(fromHalf(toHalf(value)))).toBe(true);
      else if (toHalf(value) !== bits) expect.fail(`${bits} → ${value} → ${toHalf(value)}`);
    }
  });

  it('rounds to the nearest, ties to even, and to infinity beyond the largest', () => {
    expect(toHalf(1 + 2 ** -11)).toBe(toHalf(1));
    expect(fromHalf(toHalf(1 + 3 * 2 ** -11))).toBe(1 + 2 ** -9);
    expect(fromHalf(toHalf(2049))).toBe(2048);
    expect(fromHalf(toHalf(65_519))).toBe(65_504);
    expect(fromHalf(toHalf(65_520))).toBe(Number.POSITIVE_INFINITY);
    expect(fromHalf(toHalf(-1e300))).toBe(Number.NEGATIVE_INFINITY);
    expect(toHalf(2 ** -25)).toBe(0);
    expect(toHalf(1.5 * 2 ** -25)).toBe(1);
  });

  it('is what Math.f16round says, where the runtime has it', () => {
    const f16round = (Math as { f16round?: (x: number) => number }).f16round;
    for (let i = 0; f16round && i < 20_000; i++) {
      const value = Math.fround((i - 10_000) * 1.00731 ** (i % 1500) * 1e-4);
      expect(fromHalf(toHalf(value))).toBe(f16round(value));
    }
  });
});
