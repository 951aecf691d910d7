/**
 * The numbers of a tensor as integers in their own order: neighbouring values have neighbouring integers, across zero
 * too, so the difference of two is small when the values are close, and every bit pattern (−0, NaN) has one of its own.
 * For a float the magnitude bits of negatives are flipped (sign-magnitude to two's complement); an integer is itself.
 * Pure; files are little-endian, whatever this machine is.
 */

/** Kinds are their index: a number is quicker to tell apart than a name. */
export const KIND = { i8: 0, u8: 1, i16: 2, u16: 3, i32: 4, f16: 5, bf16: 6, f32: 7 } as const;
export type Kind = (typeof KIND)[keyof typeof KIND];
export const KINDS = 8;

export const BYTES: readonly number[] = [1, 1, 2, 2, 4, 2, 2, 4];
export const isFloat = (kind: Kind): boolean => kind >= KIND.f16;
/** Of the integer kinds. */
export const LOWEST: readonly number[] = [-128, 0, -32768, 0, -(2 ** 31)];
export const HIGHEST: readonly number[] = [127, 255, 32767, 65535, 2 ** 31 - 1];

const isSigned = (kind: Kind): boolean => kind !== KIND.u8 && kind !== KIND.u16;

/** Flips the magnitude of a negative; its own inverse. `mask`: all bits but the sign. */
const reorder = (bits: number, mask: number): number => bits ^ ((bits >> 31) & mask);
const MASK = 0x7fffffff;
const HALF_MASK = 0x7fff;
const maskOf = (kind: Kind): number => (!isFloat(kind) ? 0 : kind === KIND.f32 ? MASK : HALF_MASK);

/**
 * `count` elements of `bytes` as ordered integers.
 * @param drop lowest bits of floats that are left out: those of a tensor that was rounded are all 0
 */
export function readOrdered(kind: Kind, bytes: Uint8Array, out: Int32Array, count: number, drop = 0): void {
  const size = BYTES[kind]!;
  const shift = isSigned(kind) ? 32 - 8 * size : 0;
  const mask = maskOf(kind) >> drop;
  for (let i = 0, at = 0; i < count; i++, at += size) {
    let bits = bytes[at]!;
    if (size > 1) bits |= bytes[at + 1]! << 8;
    if (size > 2) bits |= (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
    bits = ((bits << shift) >> shift) >> drop;
    out[i] = reorder(bits, mask);
  }
}

export function writeOrdered(
  kind: Kind,
  ordered: Int32Array,
  out: Uint8Array,
  count: number,
  drop = 0,
): void {
  const size = BYTES[kind]!;
  const mask = maskOf(kind) >> drop;
  for (let i = 0, at = 0; i < count; i++, at += size) {
    const bits = reorder(ordered[i]!, mask) << drop;
    out[at] = bits;
    if (size > 1) out[at + 1] = bits >> 8;
    if (size > 2) {
      out[at + 2] = bits >> 16;
      out[at + 3] = bits >> 24;
    }
  }
}

const f32 = new Float32Array(1);
const i32 = new Int32Array(f32.buffer);

/** Half's exponent bias is 112 less than float's. */
const REBIAS = 112 << 23;
const HALF_INFINITY = 0x7c00;
const HALF_NORMAL = 0x400;
/** Values beyond are predicted as if they were 0: sums of their products stay finite. */
const LARGEST = 1e18;

const finite = (value: number): number => (value < LARGEST && value > -LARGEST ? value : 0);

/** The number that an ordered integer stands for; 0 when it is none, or too large to reckon with. */
export function numberOf(kind: Kind, ordered: number, drop = 0): number {
  if (kind === KIND.f32) {
    i32[0] = reorder(ordered, MASK >> drop) << drop;
    return finite(f32[0]!);
  }
  return kind < KIND.f16 ? ordered : kind === KIND.f16 ? halfValue(ordered) : brainValue(ordered);
}

function brainValue(ordered: number): number {
  i32[0] = reorder(ordered, HALF_MASK) << 16;
  return finite(f32[0]!);
}

function halfValue(ordered: number): number {
  const bits = reorder(ordered, HALF_MASK);
  const magnitude = bits & HALF_MASK;
  if (magnitude >= HALF_INFINITY) return 0;
  i32[0] = (magnitude << 13) + REBIAS;
  const value = magnitude < HALF_NORMAL ? magnitude / 2 ** 24 : f32[0]!;
  return bits < 0 ? -value : value;
}

/** Where a value near `value` (within ±10^19) is expected. */
export function orderedNear(kind: Kind, value: number, drop = 0): number {
  if (kind < KIND.f16) return Math.floor(value + 0.5);
  if (kind === KIND.f16) return halfNear(value);
  f32[0] = value;
  return reorder(i32[0]!, MASK) >> (kind === KIND.f32 ? drop : 16);
}

function halfNear(value: number): number {
  f32[0] = value < 0 ? -value : value;
  let magnitude = (i32[0]! - REBIAS) >> 13;
  if (magnitude < HALF_NORMAL) magnitude = Math.floor(f32[0]! * 2 ** 24);
  if (magnitude >= HALF_INFINITY) magnitude = HALF_INFINITY - 1;
  return value < 0 ? ~magnitude : magnitude;
}

/** Steps between ordered integers per unit of value, by the biased float exponent. */
const stepsFrom = (mantissaBits: number, lowest: number): Float64Array =>
  Float64Array.from({ length: 256 }, (_, e) => 2 ** (mantissaBits + 127 - Math.max(e, lowest)));
const HALF_STEPS = stepsFrom(10, 113);
const BRAIN_STEPS = stepsFrom(7, 1);
const FLOAT_STEPS = stepsFrom(23, 1);

/** How many ordered integers lie in one unit of value, near `value`. */
export function stepsNear(kind: Kind, value: number): number {
  if (kind < KIND.f16) return 1;
  f32[0] = value;
  const exponent = (i32[0]! >>> 23) & 255;
  if (kind === KIND.f32) return FLOAT_STEPS[exponent]!;
  return kind === KIND.f16 ? HALF_STEPS[exponent]! : BRAIN_STEPS[exponent]!;
}

/** 4 · log2(value) + 16 downwards, from the bits of a float: the same on every machine. 0 below 1/16, at most 151. */
export function quarterLog(value: number): number {
  f32[0] = value;
  const quarters = (i32[0]! >> 21) - (127 - 4) * 4;
  return quarters < 0 ? 0 : quarters > 151 ? 151 : quarters;
}

/** How many of the lowest bits are 0 in every float: those of a model that was trained in less precision, say. */
export function zeroBits(bytes: Uint8Array): number {
  let [first, second, third, fourth] = [0, 0, 0, 0];
  for (let at = 0; at + 3 < bytes.length; at += 4) {
    first |= bytes[at]!;
    second |= bytes[at + 1]!;
    third |= bytes[at + 2]!;
    fourth |= bytes[at + 3]!;
  }
  const all = first | (second << 8) | (third << 16) | (fourth << 24);
  return all === 0 ? 0 : Math.min(MOST_DROPPED, 31 - Math.clz32(all & -all));
}

/** At least one bit of the mantissa stays. */
export const MOST_DROPPED = 22;
