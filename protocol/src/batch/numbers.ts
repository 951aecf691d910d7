/**
 * All numbers of a batch as one run of bits, column after column, through an adaptive range coder. BATCH.md says
 * the same for whoever writes a decoder. One code writes and reads, so the two ends can not differ.
 *
 * A column of integers is predicted in one of four ways, the cheapest is stated (2 raw bits): from its least value
 * (differences have no sign then), from its median, from the value before, or from the line through the two before.
 * A difference is coded by its length in bits, sign, two bits below the leading one, and the rest as it is. How long
 * the last differences of the column were is the context of the length, so what stays the same costs next to
 * nothing, without any word for a run. What is learned is shared by all columns and begins anew with each batch.
 *
 * Limits: integers up to {@link LARGEST}; whatever is read back stays a safe integer. Integer arithmetic only.
 */
import { adaptiveBits, type BinaryCoder } from '../delta/binary-coder.ts';
import { SkeinError } from '../errors.ts';

/** Second differences of such values still have 53 bits. */
export const LARGEST = 2 ** 50;

const MAX_LENGTH = 53;
/** Cells of one context: a power of two. */
const ROW = 64;
/** 0: nothing is known yet; 1 … 93: the column's own magnitude; {@link BASE}: where a column begins. */
const CONTEXTS = 96;
const BASE = 95;
const LEADING = 2;
const LARGEST_SEEN = 2 ** 40;

const LEAST = 0;
const MEDIAN = 1;
const BEFORE = 2;
const LINE = 3;

const broken = (what: string): SkeinError => new SkeinError('BATCH_INVALID', `batch numbers: ${what}`);

/** Of a size below 2^53: 0 has none. */
const lengthOf = (size: number): number =>
  size < 2 ** 32 ? 32 - Math.clz32(size) : 64 - Math.clz32(size / 2 ** 32);

/** May this go through {@link Numbers.ints}? −0 may not: it would come back as 0. */
export const isInt = (v: number): boolean =>
  Number.isInteger(v) && Math.abs(v) <= LARGEST && !Object.is(v, -0);

/** How long the differences of one column have been lately: sixteen times their moving mean. */
class Magnitude {
  #mean = -1;

  get context(): number {
    if (this.#mean < 0) return 0;
    const length = lengthOf(this.#mean);
    return 1 + 2 * length + (length > 1 ? Math.floor(this.#mean / 2 ** (length - 2)) % 2 : 0);
  }

  add(size: number): void {
    const now = 16 * Math.min(size, LARGEST_SEEN);
    this.#mean = this.#mean < 0 ? now : this.#mean + Math.floor((now - this.#mean) / 4);
  }
}

export class Numbers {
  readonly writing: boolean;
  readonly #coder: BinaryCoder;
  readonly #lengths = adaptiveBits(CONTEXTS * ROW);
  readonly #leading = adaptiveBits(ROW << LEADING);
  readonly #signs = adaptiveBits(ROW);
  readonly #flags = adaptiveBits(4);
  readonly #same = adaptiveBits(1);

  constructor(coder: BinaryCoder) {
    this.#coder = coder;
    this.writing = coder.writing;
  }

  /** @param values `count` integers when writing @throws SkeinError BATCH_INVALID reading what no writer writes */
  ints(values: readonly number[], count: number): number[] {
    if (count === 0) return [];
    const way = this.#coder.raw(2, this.writing ? cheapest(values) : 0);
    const base = this.#base(this.writing ? baseOf(values, way) : 0);
    const magnitude = new Magnitude();
    const out: number[] = new Array(count);
    const follows = way >= BEFORE;
    if (follows) out[0] = base;
    for (let i = follows ? 1 : 0; i < count; i++) {
      const expected = expectedAt(out, i, way, base);
      const value = expected + this.#difference(magnitude, way !== LEAST, (values[i] ?? 0) - expected);
      if (!Number.isSafeInteger(value)) throw broken('an integer beyond 2^53');
      out[i] = value;
    }
    return out;
  }

  #base(base: number): number {
    const size = this.#size(BASE, Math.abs(base));
    return this.#coder.raw(1, base < 0 ? 1 : 0) === 1 ? 0 - size : size;
  }

  #difference(magnitude: Magnitude, signed: boolean, difference: number): number {
    const size = this.#size(magnitude.context, Math.abs(difference));
    magnitude.add(size);
    if (size === 0 || !signed) return size;
    return this.#coder.bit(this.#signs, lengthOf(size), difference < 0 ? 1 : 0) === 1 ? -size : size;
  }

  #size(context: number, size: number): number {
    const coder = this.#coder;
    const asked = lengthOf(size);
    const row = context * ROW;
    let length = 0;
    while (length < MAX_LENGTH && coder.bit(this.#lengths, row + length, asked > length ? 1 : 0) === 1)
      length++;
    if (length === 0) return 0;
    let found = 1;
    let rest = length - 1;
    for (let node = 1; rest > 0 && node < 1 << LEADING; ) {
      rest--;
      const bit = coder.bit(this.#leading, (length << LEADING) + node, Math.floor(size / 2 ** rest) % 2);
      node = node * 2 + bit;
      found = found * 2 + bit;
    }
    return found * 2 ** rest + this.#rest(rest, size);
  }

  /** The lowest `count` bits as they are, those above the 32nd first. */
  #rest(count: number, size: number): number {
    const above = Math.max(0, count - 32);
    const high = above > 0 ? this.#coder.raw(above, Math.floor(size / 2 ** 32) % 2 ** above) : 0;
    const below = count - above;
    return high * 2 ** 32 + (below > 0 ? this.#coder.raw(below, size % 2 ** below) : 0);
  }

  /** Yes or no, each expected from the two before it. */
  flags(values: readonly boolean[], count: number): boolean[] {
    let context = 0;
    return Array.from({ length: count }, (_, i) => {
      const bit = this.#coder.bit(this.#flags, context, values[i] ? 1 : 0);
      context = ((context << 1) | bit) & 3;
      return bit === 1;
    });
  }

  /** float32 as integers in the order of the numbers. NaN is the one quiet NaN. */
  singles(values: readonly number[], count: number): number[] {
    const view = new DataView(new ArrayBuffer(4));
    const words = values.map((value) => {
      view.setFloat32(0, value);
      return ordered(view.getUint32(0));
    });
    return this.ints(words, count).map((word) => {
      view.setUint32(0, unordered(word));
      return view.getFloat32(0);
    });
  }

  /** float64: the upper words as above, then the lower ones: the same as before, or as they are. */
  doubles(values: readonly number[], count: number): number[] {
    const view = new DataView(new ArrayBuffer(8));
    const words = values.map((value) => {
      view.setFloat64(0, value);
      return [ordered(view.getUint32(0)), view.getUint32(4)] as const;
    });
    const upper = this.ints(
      words.map(([word]) => word),
      count,
    );
    let lower = 0;
    return upper.map((word, i) => {
      const now = words[i]?.[1] ?? 0;
      const same = this.#coder.bit(this.#same, 0, now === lower ? 1 : 0) === 1;
      if (!same) lower = this.#coder.raw(32, now);
      view.setUint32(0, unordered(word));
      view.setUint32(4, lower);
      return view.getFloat64(0);
    });
  }
}

function expectedAt(out: readonly number[], i: number, way: number, base: number): number {
  if (way < BEFORE) return base;
  const before = out[i - 1]!;
  return way === BEFORE || i === 1 ? before : 2 * before - out[i - 2]!;
}

function baseOf(values: readonly number[], way: number): number {
  if (way >= BEFORE) return values[0]!;
  const sorted = Float64Array.from(values).sort();
  return way === LEAST ? sorted[0]! : sorted[sorted.length >> 1]!;
}

/** By the bits that the differences have; ties go to the simpler one. */
function cheapest(values: readonly number[]): number {
  const costs = [LEAST, MEDIAN, BEFORE, LINE].map((way) => {
    const base = baseOf(values, way);
    let bits = 0;
    for (let i = way >= BEFORE ? 1 : 0; i < values.length; i++) {
      const length = lengthOf(Math.abs(values[i]! - expectedAt(values, i, way, base)));
      bits += length > 0 && way !== LEAST ? length + 1 : length;
    }
    return bits;
  });
  return costs.indexOf(Math.min(...costs));
}

const SIGN = 0x80000000;
const ordered = (word: number): number => (word >= SIGN ? 0xffffffff - word : word + SIGN);

function unordered(word: number): number {
  if (word < 0 || word > 0xffffffff) throw broken('not the bits of a float');
  return word >= SIGN ? word - SIGN : 0xffffffff - word;
}
