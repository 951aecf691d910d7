/**
 * A patch that makes a new model file from the one before. Version 1, little-endian, nothing in it is believed.
 *
 *     3  "SKD"
 *     1  version and form: 0x10 whole (the new file follows as it is), 0x11 delta
 *     v  size of the old file       v  size of the new file            (v: varint, 7 bits a byte, lowest first)
 *     8  first bytes of the old file's SHA-256
 *    16  first bytes of the new file's SHA-256
 *     …  whole: the new file.  delta: frames, each  v bytes coded · v bytes raw · the coded · the raw
 *
 * A frame is one run of the binary range coder (binary-coder.ts) and the bits that passed beside it; probabilities go
 * on from frame to frame. It carries operations, which make the new file from front to back:
 *
 *     end                                     nothing follows
 *     copy     length, old position           bytes of the old file
 *     literal  length, stride, bytes          what has no counterpart
 *     values   kind, count, width, drop,      as many numbers, coded against the old file's (value-model.ts);
 *              old position                   drop: float32 only, lowest bits that are 0 in all of them
 *
 * Positions are relative to where the last operation stopped reading the old file. After an operation's head, and after
 * every {@link BLOCK} bytes made of a literal or of values, one bit says whether the frame ends there.
 *
 * Limits: sizes up to {@link MAX_SIZE}, a frame up to {@link MAX_FRAME}; every operation but the end makes at least one
 * byte, all together exactly the new size, {@link mostOperations} in number; none reads outside of the old file, and rows
 * are no wider than their operation: neither memory nor work can exceed what the new size says, and a caller who knows it
 * refuses another before anything is made.
 * There are no references into the new file, so nothing nests and nothing grows. No bit is without meaning: but for the
 * new file's hash, a patch with any bit changed is refused or makes another file.
 */
import { SkeinError } from '../errors.ts';
import { type Bytes, KIB, MIB } from '../units.ts';
import { truncated } from './binary-coder.ts';

export const MAX_SIZE: Bytes = 2 ** 31 - 1;
export const MAX_FRAME: Bytes = MIB;
/** A writer closes a frame once it has so much. */
export const FULL_FRAME: Bytes = 64 * KIB;
export const BLOCK: Bytes = 16 * KIB;
export const MAX_WIDTH = 65_536;
export const OLD_HASH: Bytes = 8;
export const NEW_HASH: Bytes = 16;

/** A copy that is shorter than 16 bytes is not worth its words. */
export const mostOperations = (newSize: Bytes): number => 64 + Math.floor(newSize / 16);

export const END = 0;
export const COPY = 1;
export const LITERAL = 2;
/** And the kind of the values. */
export const VALUES = 3;
export const OPERATIONS = 16;

const MAGIC = [0x53, 0x4b, 0x44] as const;
const WHOLE = 0x10;
const DELTA = 0x11;

export interface Header {
  form: 'whole' | 'delta';
  oldSize: Bytes;
  newSize: Bytes;
  /** {@link OLD_HASH} and {@link NEW_HASH} bytes. */
  oldHash: Uint8Array;
  newHash: Uint8Array;
}

export const invalidPatch = (message: string, fix = 'Make the patch again, or take the whole file.') =>
  new SkeinError('PATCH_INVALID', message, { fix });

export function writeVarint(value: number, out: number[]): void {
  let rest = value;
  for (; rest >= 128; rest = Math.floor(rest / 128)) out.push((rest % 128) | 128);
  out.push(rest);
}

export function writeHeader({ form, oldSize, newSize, oldHash, newHash }: Header): Uint8Array {
  const out: number[] = [...MAGIC, form === 'whole' ? WHOLE : DELTA];
  writeVarint(oldSize, out);
  writeVarint(newSize, out);
  out.push(...oldHash.subarray(0, OLD_HASH), ...newHash.subarray(0, NEW_HASH));
  return Uint8Array.from(out);
}

/** Takes exact numbers of bytes from chunks of any size, through one buffer that is used again. */
export class PatchBytes {
  readonly #chunks: AsyncIterator<Uint8Array>;
  #buffer = new Uint8Array(4 * FULL_FRAME);
  /** What is held lies here. */
  #from = 0;
  #to = 0;

  constructor(patch: AsyncIterable<Uint8Array>) {
    this.#chunks = patch[Symbol.asyncIterator]();
  }

  /** Valid until the next call. @throws SkeinError PATCH_INVALID when the patch has fewer left */
  async take(count: Bytes): Promise<Uint8Array> {
    while (this.#to - this.#from < count) {
      const { value, done } = await this.#chunks.next();
      if (done) throw truncated();
      this.#hold(value);
    }
    this.#from += count;
    return this.#buffer.subarray(this.#from - count, this.#from);
  }

  #hold(chunk: Uint8Array): void {
    const held = this.#to - this.#from;
    if (held + chunk.length > this.#buffer.length) {
      const larger = new Uint8Array(Math.max(held + chunk.length, 2 * this.#buffer.length));
      larger.set(this.#buffer.subarray(this.#from, this.#to));
      this.#buffer = larger;
    } else if (this.#to + chunk.length > this.#buffer.length) {
      this.#buffer.copyWithin(0, this.#from, this.#to);
    } else {
      this.#buffer.set(chunk, this.#to);
      this.#to += chunk.length;
      return;
    }
    this.#buffer.set(chunk, held);
    this.#from = 0;
    this.#to = held + chunk.length;
  }

  async varint(): Promise<number> {
    let value = 0;
    for (let unit = 1; unit < 2 ** 35; unit *= 128) {
      const byte = (await this.take(1))[0]!;
      value += (byte & 127) * unit;
      if (byte < 128) return value;
    }
    throw invalidPatch('a number in the patch does not end');
  }

  /** What is left, as it comes. */
  async *rest(): AsyncGenerator<Uint8Array> {
    if (this.#to > this.#from) yield this.#buffer.subarray(this.#from, this.#to);
    for (;;) {
      const { value, done } = await this.#chunks.next();
      if (done) return;
      if (value.length > 0) yield value;
    }
  }

  /** Lets the source go before its end. */
  async close(): Promise<void> {
    await this.#chunks.return?.();
  }
}

/** @throws SkeinError PATCH_INVALID */
export async function readHeader(patch: PatchBytes): Promise<Header> {
  const [first, second, third, form] = await patch.take(4);
  if (first !== MAGIC[0] || second !== MAGIC[1] || third !== MAGIC[2])
    throw invalidPatch('this is no patch: it does not begin with SKD', 'Make one with `skein-model diff`.');
  if (form !== WHOLE && form !== DELTA)
    throw invalidPatch('the patch is of another version', 'Update this program.');
  const oldSize = await patch.varint();
  const newSize = await patch.varint();
  if (oldSize > MAX_SIZE || newSize > MAX_SIZE)
    throw invalidPatch(`the patch speaks of files above ${MAX_SIZE} bytes`);
  return {
    form: form === WHOLE ? 'whole' : 'delta',
    oldSize,
    newSize,
    oldHash: Uint8Array.from(await patch.take(OLD_HASH)),
    newHash: Uint8Array.from(await patch.take(NEW_HASH)),
  };
}
