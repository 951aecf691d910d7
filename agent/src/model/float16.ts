/** IEEE 754 binary16 from binary32: round to nearest, ties to even; what is beyond is clamped and counted. Pure. */

/** Largest finite float16. */
export const FLOAT16_MAX = 65504;

const view = new DataView(new ArrayBuffer(4));

/** Bits of the nearest float16; infinity and NaN stay what they are. */
export function float16Bits(value: number): number {
  view.setFloat32(0, value);
  const bits = view.getUint32(0);
  const sign = (bits >>> 16) & 0x8000;
  const exponent = (bits >>> 23) & 0xff;
  const mantissa = bits & 0x7fffff;
  if (exponent === 0xff) return sign | 0x7c00 | (mantissa ? 0x200 : 0);
  const power = exponent - 127;
  if (power < -25) return sign;
  // Subnormal below 2^-14: the implicit one is shifted in.
  const shift = power < -14 ? -1 - power : 13;
  const whole = power < -14 ? mantissa | 0x800000 : mantissa;
  const kept = whole >>> shift;
  const rest = whole & ((1 << shift) - 1);
  const half = 1 << (shift - 1);
  const up = rest > half || (rest === half && (kept & 1) === 1) ? 1 : 0;
  const base = power < -14 ? 0 : (power + 15) << 10;
  // A carry out of the mantissa raises the exponent by itself, up to infinity.
  return power > 15 ? sign | 0x7c00 : sign | (base + kept + up);
}

export interface HalfValues {
  bits: Uint16Array;
  /** Values beyond ±65504, clamped to it. */
  clamped: number;
  /** Values that were not zero and are now. */
  vanished: number;
}

export function toFloat16(values: Float32Array): HalfValues {
  let [clamped, vanished] = [0, 0];
  const bits = Uint16Array.from(values, (value) => {
    const rounded = float16Bits(value);
    if (value !== 0 && (rounded & 0x7fff) === 0) vanished++;
    if (!Number.isFinite(value) || (rounded & 0x7fff) < 0x7c00) return rounded;
    clamped++;
    return (rounded & 0x8000) | 0x7bff;
  });
  return { bits, clamped, vanished };
}
