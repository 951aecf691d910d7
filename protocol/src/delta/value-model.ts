/**
 * A tensor's values, coded from those of the version before. Both ends run this very code.
 *
 * 1. *Predict.* What moves a weight moves its neighbours: the change of this value is a sum over the changes of the two
 *    values before it, of three in the row above and one in the row above that, and over the old value itself (weight
 *    decay, a new quantization scale), with weights that follow the data (normalised least mean squares).
 * 2. *Expect.* How far predictions missed lately and in this column, as steps between neighbouring numbers at this
 *    value's exponent, in quarters of a bit: the context of all that follows.
 * 3. *Code.* Of a float first: are they the same bits as before? Then the miss in ordered integers: its length in bits
 *    from the expected one up or down, its leading bit, and its sign and the rest as they are: they are noise. For an
 *    integer the phase of the prediction between two integers is part of the context, and decides the sign.
 *
 * All reckoning is in doubles with + − × ÷ alone, which every machine rounds alike. Pure.
 */
import { adaptiveBits, type BinaryCoder } from './binary-coder.ts';
import {
  HIGHEST,
  isFloat,
  type Kind,
  LOWEST,
  numberOf,
  orderedNear,
  quarterLog,
  stepsNear,
} from './elements.ts';

const TAPS = 7;
/** Step of the prediction's weights, and how fast the averages below follow. */
const LEARN = 0.01;
const POWER_RATE = 0.005;
const MAGNITUDE_RATE = 0.002;
const MISS_RATE = 0.1;
const COLUMN_RATE = 0.3;
const TINY = 1e-30;
const LARGEST = 1e18;

/** What {@link quarterLog} may say. */
const EXPECTED = 152;
/** 0 … 32 bits; rows of contexts are a power of two long. */
const LENGTHS = 64;
const PHASES = 8;
/** A miss of more bits than a float's mantissa has goes over exponents and zero: its sign and leading bits say where. */
const WIDE = 24;
const WIDE_LEADING = 4;

export class ValueModel {
  readonly #coder: BinaryCoder;
  readonly #kind: Kind;
  readonly #float: boolean;
  readonly #same = adaptiveBits(32);
  readonly #length: Int32Array;
  readonly #leading = adaptiveBits(EXPECTED * LENGTHS);
  readonly #wide = adaptiveBits(((EXPECTED >> 3) * 2 * LENGTHS) << WIDE_LEADING);
  readonly #sign: Int32Array;
  /** Weights of the prediction, then the running averages: kept here between two runs. */
  readonly #state = new Float64Array(TAPS + 4).fill(0).fill(TINY, TAPS, TAPS + 2);
  readonly #last = new Float64Array(2);

  #width = 1;
  /** Lowest bits that are left out, and what that makes of a step. */
  #drop = 0;
  #coarser = 1;
  #column = 0;
  /** Changes in the row above and in the one before, with one more on each side. */
  #above = new Float64Array(3);
  #beyond = new Float64Array(3);
  #columnMiss = new Float64Array(1);
  #moved = new Uint8Array(2);
  #movedBefore = 0;

  constructor(coder: BinaryCoder, kind: Kind) {
    this.#coder = coder;
    this.#kind = kind;
    this.#float = isFloat(kind);
    const phases = this.#float ? 1 : PHASES;
    this.#length = adaptiveBits(EXPECTED * LENGTHS * phases);
    this.#sign = adaptiveBits(LENGTHS * (this.#float ? 2 : PHASES));
  }

  /** A new tensor with rows of `width` values, their `drop` lowest bits left out. What was learned stays. */
  begin(width: number, drop = 0): void {
    this.#width = width;
    this.#drop = drop;
    this.#coarser = 1 / 2 ** drop;
    this.#column = 0;
    this.#above = new Float64Array(width + 2);
    this.#beyond = new Float64Array(width + 2);
    this.#columnMiss = new Float64Array(width).fill(this.#state[TAPS + 3]!);
    this.#moved = new Uint8Array(width + 1);
    this.#last.fill(0);
    this.#movedBefore = 0;
  }

  /**
   * Codes `count` ordered integers that follow those before; reading, it fills `now`. One long loop on purpose: its
   * numbers stay in registers, where arguments and fields would be boxed.
   */
  run(was: Int32Array, now: Int32Array, count: number): void {
    const kind = this.#kind;
    const float = this.#float;
    const width = this.#width;
    const drop = this.#drop;
    const coarser = this.#coarser;
    const above = this.#above;
    const beyond = this.#beyond;
    const columnMiss = this.#columnMiss;
    const moved = this.#moved;
    const state = this.#state;
    let w0 = state[0]!;
    let w1 = state[1]!;
    let w2 = state[2]!;
    let w3 = state[3]!;
    let w4 = state[4]!;
    let w5 = state[5]!;
    let w6 = state[6]!;
    let meanPower = state[7]!;
    let meanOld = state[8]!;
    let meanChange = state[9]!;
    let meanMiss = state[10]!;
    let left = this.#last[0]!;
    let left2 = this.#last[1]!;
    let column = this.#column;
    let movedBefore = this.#movedBefore;
    let scale = 0;
    const low = LOWEST[kind] ?? 0;
    const high = HIGHEST[kind] ?? 0;
    for (let i = 0; i < count; i++) {
      const old = was[i]!;
      const before = float ? numberOf(kind, old, drop) : old;
      const a0 = above[column]!;
      const a1 = above[column + 1]!;
      const a2 = above[column + 2]!;
      const b1 = beyond[column + 1]!;
      if ((i & 15) === 0) scale = meanChange / meanOld;
      const scaled = before * scale;
      let expected = w0 * left + w1 * left2 + w2 * a1 + w3 * a0 + (w4 * a2 + w5 * b1 + w6 * scaled);
      if (!(expected < LARGEST && expected > -LARGEST)) expected = 0;
      let same = 0;
      if (float) {
        const context = movedBefore | (moved[column]! << 3) | (moved[column + 1]! << 4);
        same = 1 - this.#coder.bit(this.#same, context, now[i] === old ? 0 : 1);
      }
      let value = old;
      let change = 0;
      if (same === 0) {
        const target = before + expected;
        const miss = (meanMiss + columnMiss[column]!) * 0.5;
        if (float) {
          value = this.#code(
            quarterLog(miss * stepsNear(kind, target) * coarser),
            0,
            orderedNear(kind, target, drop),
            now[i]!,
          );
          change = numberOf(kind, value, drop) - before;
        } else {
          const base = Math.floor(target + 0.5);
          const phase = Math.floor((target + 0.5 - base) * PHASES);
          value = this.#code(quarterLog(miss), phase, base < low ? low : base > high ? high : base, now[i]!);
          change = value - old;
        }
        now[i] = value;
        const size = Math.abs(change - expected);
        meanMiss += (size - meanMiss) * MISS_RATE;
        columnMiss[column]! += (size - columnMiss[column]!) * COLUMN_RATE;
      } else now[i] = old;
      const power = left * left + left2 * left2 + a1 * a1 + a0 * a0 + (a2 * a2 + b1 * b1 + scaled * scaled);
      const gain = ((change - expected) * LEARN) / ((power > meanPower ? power : meanPower) + TINY);
      w0 += gain * left;
      w1 += gain * left2;
      w2 += gain * a1;
      w3 += gain * a0;
      w4 += gain * a2;
      w5 += gain * b1;
      w6 += gain * scaled;
      meanPower += (power - meanPower) * POWER_RATE;
      meanOld += (Math.abs(before) - meanOld) * MAGNITUDE_RATE;
      meanChange += (Math.abs(change) - meanChange) * MAGNITUDE_RATE;
      beyond[column + 1] = a1;
      // The next value still needs the one above to its left: the row is written one step late.
      above[column] = column === 0 ? 0 : left;
      const did = change === 0 ? 0 : 1;
      moved[column] = did;
      movedBefore = ((movedBefore << 1) | did) & 7;
      left2 = left;
      left = change;
      if (++column === width) {
        above[width] = change;
        column = 0;
      }
    }
    state[0] = w0;
    state[1] = w1;
    state[2] = w2;
    state[3] = w3;
    state[4] = w4;
    state[5] = w5;
    state[6] = w6;
    state[7] = meanPower;
    state[8] = meanOld;
    state[9] = meanChange;
    state[10] = meanMiss;
    this.#last[0] = left;
    this.#last[1] = left2;
    this.#column = column;
    this.#movedBefore = movedBefore;
  }

  /** @returns the ordered integer: `now`, or what was read */
  #code(k: number, phase: number, base: number, now: number): number {
    const coder = this.#coder;
    const miss = (now - base) | 0;
    const size = (miss < 0 ? -miss : miss) >>> 0;
    const length = this.#lengthOf((phase * EXPECTED + k) * LENGTHS, (k >> 2) - 3, 32 - Math.clz32(size));
    if (length === 0) return base;
    const negative = this.#signOf(k, phase, base, length, miss < 0 ? 1 : 0);
    let found = 1;
    let rest = length - 1;
    const wide = length > WIDE ? ((k >> 3) * 2 + negative) * LENGTHS + length : -1;
    for (let left = wide < 0 ? 1 : WIDE_LEADING, node = 1; left > 0 && rest > 0; left--) {
      rest--;
      const bit = (size >>> rest) & 1;
      const leading =
        wide < 0
          ? coder.bit(this.#leading, k * LENGTHS + length, bit)
          : coder.bit(this.#wide, (wide << WIDE_LEADING) + node, bit);
      node = node * 2 + leading;
      found = found * 2 + leading;
    }
    if (rest > 0) found = ((found << rest) | coder.raw(rest, size & ((1 << rest) - 1))) >>> 0;
    return (negative === 1 ? base - found : base + found) | 0;
  }

  #signOf(k: number, phase: number, base: number, length: number, negative: number): number {
    if (!this.#float) return this.#coder.bit(this.#sign, phase * LENGTHS + length, negative);
    if (length <= WIDE) return this.#coder.raw(1, negative);
    return this.#coder.bit(this.#sign, (base < 0 ? LENGTHS : 0) + (k >> 2), negative);
  }

  /** From the guess up or down to the length. */
  #lengthOf(context: number, guess: number, length: number): number {
    const coder = this.#coder;
    const cells = this.#length;
    let at = guess < 0 ? 0 : guess > 31 ? 31 : guess;
    if (coder.bit(cells, context + at, length > at ? 1 : 0) === 1) {
      at++;
      while (at < 32 && coder.bit(cells, context + at, length > at ? 1 : 0) === 1) at++;
      return at;
    }
    while (at > 0 && coder.bit(cells, context + at - 1, length > at - 1 ? 1 : 0) === 0) at--;
    return at;
  }
}

/** One model for each kind of number in a patch, made when the first of its kind comes. */
export class ValueModels {
  readonly #coder: BinaryCoder;
  readonly #models = new Map<Kind, ValueModel>();

  constructor(coder: BinaryCoder) {
    this.#coder = coder;
  }

  of(kind: Kind): ValueModel {
    const known = this.#models.get(kind);
    if (known) return known;
    const made = new ValueModel(this.#coder, kind);
    this.#models.set(kind, made);
    return made;
  }
}
