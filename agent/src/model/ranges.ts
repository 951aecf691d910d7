/** Eight bits for a range of real values. Pure. */

/** Least and largest value that is represented. */
export type Range = readonly [low: number, high: number];

/** Asymmetric: real = (q − zero) · scale. Zero is always exactly representable. */
export interface ActivationScale {
  scale: number;
  zero: number;
}

export type ActivationType = 'u8' | 's8';

/** Smaller steps would not survive a product with a weight's scale in float32. */
const LEAST_SCALE = 1e-12;

/** u8 has its zero in 0…255, s8 in −128…127. A range of nothing takes scale 1. */
export function activationScale([low, high]: Range, type: ActivationType = 'u8'): ActivationScale {
  const min = Math.min(0, Number.isFinite(low) ? low : 0);
  const max = Math.max(0, Number.isFinite(high) ? high : 0);
  const step = Math.fround((max - min) / 255);
  const scale = step > 0 ? Math.max(LEAST_SCALE, step) : 1;
  const zero = Math.max(0, Math.min(255, Math.round(-min / scale)));
  return { scale: Math.fround(scale), zero: type === 'u8' ? zero : zero - 128 };
}
