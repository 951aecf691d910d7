/** IEEE 754 binary16, which travels as its bits in a Uint16Array. */

/** @param bits 1 sign, 5 exponent (bias 15), 10 fraction */
export function fromHalf(bits: number): number {
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  const sign = bits & 0x8000 ? -1 : 1;
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15));
}

/** Rounds to nearest, ties to even; beyond 65,504 to infinity. */
export function toHalf(value: number): number {
  if (Number.isNaN(value)) return 0x7e00;
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const size = Math.abs(value);
  // Half way between the largest finite half and the next power of two rounds up.
  if (size >= 65_520) return sign | 0x7c00;
  const exponent = size < 2 ** -14 ? -14 : Math.floor(Math.log2(size));
  const step = 2 ** ((size < 2 ** exponent ? exponent - 1 : exponent) - 10);
  const steps = roundEven(size / Math.max(step, 2 ** -24));
  const half = steps * Math.max(step, 2 ** -24);
  if (half < 2 ** -14) return sign | Math.round(half / 2 ** -24);
  const power = Math.floor(Math.log2(half));
  return sign | ((power + 15) << 10) | Math.round((half / 2 ** power - 1) * 1024);
}

function roundEven(value: number): number {
  const down = Math.floor(value);
  const rest = value - down;
  return rest > 0.5 || (rest === 0.5 && down % 2 === 1) ? down + 1 : down;
}
