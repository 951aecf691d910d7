/**
 * An adaptive binary range coder that runs both ways: {@link BinaryCoder.bit} writes the bit it is given, or returns
 * the bit it read, so a model is written once and can not differ between the two ends. Pure, integers only.
 *
 * - `low` has 32 bits, `range` stays in [2^23, 2^31): every value in between is a small integer to the engine.
 *   Bytes leave at the top; a carry runs back through those that are pending (as in LZMA's coder).
 * - A probability is that of a 0, in 1/2^22. Its nth use moves it by 1/(n + 1.5) of the error, never by less than
 *   1/256: a new context learns at once, an old one averages.
 * - Bits without a model go beside the coded ones, packed from the lowest up: they cost a shift, not a division.
 * - The coded end is trimmed: a reader finds zeros beyond the last byte, at most {@link MAX_PADDING} of them.
 */
import { SkeinError } from '../errors.ts';

const TOP = 2 ** 23;
const WIDEST = 2 ** 31 - 1;
const CARRY = 2 ** 32;
const ONE = 2 ** 22;
const MAX_PADDING = 4;
/** So that four bytes can be read at any bit. */
const MARGIN = 8;

/** Step at the nth use, in 1/2^13. */
const RATES = Int32Array.from({ length: 256 }, (_, n) => Math.floor(8192 / (n + 1.5)));

/** Adaptive bits by index: probability and, in the lowest 8 bits, how often it was used. All at one half. */
export const adaptiveBits = (count: number): Int32Array => new Int32Array(count).fill((ONE / 2) << 8);

export const truncated = (): SkeinError =>
  new SkeinError('PATCH_INVALID', 'the patch ends too early', { fix: 'Fetch it or make it again.' });

const notAsWritten = (): SkeinError =>
  new SkeinError('PATCH_INVALID', 'a frame of the patch is not as it was written', {
    fix: 'Fetch it or make it again.',
  });

/** One frame's two runs of bytes. */
export interface Frame {
  coded: Uint8Array;
  raw: Uint8Array;
}

export class BinaryCoder {
  readonly writing: boolean;
  #range = WIDEST;
  #low = 0;
  #code = 0;
  #cache = 0;
  #pending = 0;
  #begun = false;
  #coded: Uint8Array;
  /** Where the next coded byte is written or read, and where reading ends. */
  #at = 0;
  #end = 0;
  #padding = 0;
  #raw: Uint8Array;
  #rawBit = 0;
  #rawEnd = 0;

  /** @param expected bytes of a frame; it grows beyond */
  constructor(writing: boolean, expected = 1 << 17) {
    this.writing = writing;
    this.#coded = new Uint8Array(writing ? expected : 0);
    this.#raw = new Uint8Array(writing ? expected : 0);
  }

  /** Reads from this frame on; what adapted stays. The coded bytes are read where they are. */
  open({ coded, raw }: Frame): void {
    this.#coded = coded;
    this.#at = 0;
    this.#end = coded.length;
    this.#padding = 0;
    if (this.#raw.length < raw.length + MARGIN) this.#raw = new Uint8Array(raw.length + MARGIN);
    this.#raw.set(raw);
    this.#rawBit = 0;
    this.#rawEnd = raw.length * 8;
    this.#range = WIDEST;
    this.#code = 0;
    for (let i = 0; i < 4; i++) this.#code = ((this.#code << 8) | this.#next()) >>> 0;
    if (this.#code >= WIDEST) throw notAsWritten();
  }

  /** @returns `value` when writing, else the bit that was read */
  bit(cells: Int32Array, index: number, value: number): number {
    const cell = cells[index]!;
    const p = cell >> 8;
    const uses = cell & 255;
    const bound = Math.imul(this.#range >>> 15, (p >>> 7) | 1);
    let bit = value;
    if (this.writing) {
      if (bit === 0) this.#range = bound;
      else {
        this.#low += bound;
        this.#range -= bound;
      }
    } else if (this.#code < bound) {
      this.#range = bound;
      bit = 0;
    } else {
      this.#code -= bound;
      this.#range -= bound;
      bit = 1;
    }
    const moved = p + (Math.imul(((bit === 0 ? ONE : 0) - p) >> 4, RATES[uses]!) >> 9);
    cells[index] = (moved << 8) | (uses < 255 ? uses + 1 : 255);
    while (this.#range < TOP) this.#shift();
    return bit;
  }

  /** `count` ≤ 32 bits without a model. */
  raw(count: number, value: number): number {
    if (count > 16)
      return (this.#rawPart(16, value & 0xffff) | (this.#rawPart(count - 16, value >>> 16) << 16)) >>> 0;
    return this.#rawPart(count, value);
  }

  /** At most 16 bits: with what is left of a byte they fit into four. */
  #rawPart(count: number, value: number): number {
    const at = this.#rawBit >> 3;
    const shift = this.#rawBit & 7;
    this.#rawBit += count;
    if (this.writing) {
      if (at + MARGIN > this.#raw.length) this.#raw = grown(this.#raw);
      const bits = value << shift;
      this.#raw[at]! |= bits;
      this.#raw[at + 1] = bits >> 8;
      this.#raw[at + 2] = bits >> 16;
      return value;
    }
    if (this.#rawBit > this.#rawEnd) throw truncated();
    const bytes = this.#raw;
    const bits = bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16);
    return (bits >> shift) & ((1 << count) - 1);
  }

  #shift(): void {
    this.#range = (this.#range << 8) & WIDEST;
    if (this.writing) this.#emit();
    else this.#code = ((this.#code << 8) | this.#next()) & WIDEST;
  }

  #next(): number {
    if (this.#at < this.#end) return this.#coded[this.#at++]!;
    if (++this.#padding > MAX_PADDING) throw truncated();
    return 0;
  }

  #emit(): void {
    if (this.#low < 0xff000000 || this.#low >= CARRY) {
      const carry = this.#low >= CARRY ? 1 : 0;
      if (this.#begun) this.#put(this.#cache + carry);
      for (; this.#pending > 0; this.#pending--) this.#put(0xff + carry);
      this.#begun = true;
      this.#cache = Math.floor(this.#low / 2 ** 24) & 0xff;
    } else this.#pending++;
    this.#low = (this.#low % 2 ** 24) * 256;
  }

  #put(byte: number): void {
    if (this.#at === this.#coded.length) this.#coded = grown(this.#coded);
    this.#coded[this.#at++] = byte;
  }

  /**
   * After the last bit of a frame: it has nothing more, and ends as {@link close} would have ended it, so that no bit of
   * a patch is without meaning.
   * @throws SkeinError PATCH_INVALID
   */
  checkEnd(): void {
    const restOfByte = this.#raw[this.#rawBit >> 3]! >> (this.#rawBit & 7);
    if (this.#rawEnd - this.#rawBit >= 8 || (this.#rawEnd > this.#rawBit && restOfByte !== 0))
      throw notAsWritten();
    const untrimmed = this.#padding < MAX_PADDING && this.#end > 0 && this.#coded[this.#end - 1] === 0;
    if (this.#at < this.#end || untrimmed) throw notAsWritten();
    let read = 0;
    for (let at = this.#at + this.#padding - 4; at < this.#at + this.#padding; at++)
      read = read * 256 + (this.#coded[at] ?? 0);
    const low = (read - this.#code + CARRY) % CARRY;
    if (this.#code !== roundUp(low, this.#range)) throw notAsWritten();
  }

  /** Bytes that the frame has by now, about. */
  get written(): number {
    return this.#at + (this.#rawBit >> 3);
  }

  /** Ends the frame with as few bytes as say it, and begins the next; what adapted stays. */
  close(): Frame {
    this.#low += roundUp(this.#low, this.#range);
    for (let i = 0; i < 5; i++) this.#emit();
    for (let i = 0; i < MAX_PADDING && this.#at > 0 && this.#coded[this.#at - 1] === 0; i++) this.#at--;
    const coded = this.#coded.slice(0, this.#at);
    const raw = this.#raw.slice(0, (this.#rawBit + 7) >> 3);
    this.#raw.fill(0);
    this.#rawBit = this.#at = this.#low = this.#cache = this.#pending = 0;
    this.#begun = false;
    this.#range = WIDEST;
    return { coded, raw };
  }
}

/** From `low` to the value in [low, low + range) with the most zeros at its end. */
function roundUp(low: number, range: number): number {
  for (let unit = 2 ** 31; unit > 1; unit /= 2) {
    const up = (unit - (low % unit)) % unit;
    if (up < range) return up;
  }
  return 0;
}

function grown(bytes: Uint8Array): Uint8Array {
  const larger = new Uint8Array(bytes.length * 2);
  larger.set(bytes);
  return larger;
}
