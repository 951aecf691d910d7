/**
 * Makes the new file from the old one and a patch, from front to back: what is held at once is a frame, a block and the
 * models, whatever the sizes. The patch may be anything at all: see the limits in format.ts.
 */
import { SkeinError } from '../errors.ts';
import type { Bytes } from '../units.ts';
import { BinaryCoder } from './binary-coder.ts';
import { BYTES, KIND, KINDS, type Kind, MOST_DROPPED, readOrdered, writeOrdered } from './elements.ts';
import {
  BLOCK,
  COPY,
  END,
  type Header,
  invalidPatch,
  LITERAL,
  MAX_FRAME,
  MAX_WIDTH,
  mostOperations,
  PatchBytes,
  readHeader,
  VALUES,
} from './format.ts';
import { LiteralModel, OperationModels } from './operations.ts';
import { ValueModels } from './value-model.ts';

/** What comes out at once, at most. */
const CHUNK: Bytes = 8 * BLOCK;

/** A file that is read at any place. */
export interface OldFile {
  size: Bytes;
  /** Exactly `length` bytes; they may be overwritten by the next call. */
  read(offset: Bytes, length: Bytes): Promise<Uint8Array>;
}

/** What the caller knows of the old file, and demands of the new one. */
export interface Demands {
  /** First bytes of the old file's SHA-256, 8 or more. */
  oldHash: Uint8Array;
  /** Known from what was signed; refused when the patch says otherwise. */
  newSize?: Bytes;
  /** At most so much is made. */
  maxBytes?: Bytes;
}

/**
 * Chunks of the new file, each valid until the next is asked for. Whoever takes them compares their hash with what he
 * trusts, or with {@link Header.newHash}, before anything else sees them.
 * @param onHeader before the first chunk
 * @throws SkeinError PATCH_WRONG_BASE, PATCH_INVALID; whatever `old` and `patch` throw
 */
export async function* applyPatch(
  patch: AsyncIterable<Uint8Array>,
  old: OldFile,
  demands: Demands,
  onHeader?: (header: Header) => void,
): AsyncGenerator<Uint8Array, void> {
  const bytes = new PatchBytes(patch);
  try {
    const header = await readHeader(bytes);
    checkHeader(header, old, demands);
    onHeader?.(header);
    if (header.form === 'whole') yield* whole(bytes, header.newSize);
    else yield* gathered(new Maker(bytes, old, header.newSize).run());
  } finally {
    await bytes.close();
  }
}

function checkHeader(header: Header, old: OldFile, { oldHash, newSize, maxBytes = Infinity }: Demands): void {
  const same = header.oldHash.every((byte, i) => byte === oldHash[i]);
  if (header.oldSize !== old.size || !same) {
    throw new SkeinError('PATCH_WRONG_BASE', 'the patch was made for another file than this one', {
      fix: 'Give the very file the patch was made from.',
      data: { wantedBytes: header.oldSize, foundBytes: old.size },
    });
  }
  if (newSize !== undefined && header.newSize !== newSize)
    throw invalidPatch(`the patch makes ${header.newSize} bytes, ${newSize} are wanted`);
  if (header.newSize > maxBytes)
    throw invalidPatch(`the patch makes ${header.newSize} bytes, at most ${maxBytes} are taken`);
}

async function* whole(patch: PatchBytes, size: Bytes): AsyncGenerator<Uint8Array, void> {
  let made = 0;
  for await (const chunk of patch.rest()) {
    made += chunk.length;
    if (made > size) throw tooLong();
    yield chunk;
  }
  if (made < size) throw invalidPatch('the patch ends too early');
}

/** Small chunks as large ones: whoever takes them hashes and writes, which has its price each time. */
async function* gathered(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void> {
  const large = new Uint8Array(CHUNK);
  let held = 0;
  for await (const chunk of chunks) {
    if (held + chunk.length > CHUNK) {
      yield large.subarray(0, held);
      held = 0;
    }
    large.set(chunk, held);
    held += chunk.length;
  }
  if (held > 0) yield large.subarray(0, held);
}

const tooLong = () => invalidPatch('the patch goes on after its end');

class Maker {
  readonly #patch: PatchBytes;
  readonly #old: OldFile;
  readonly #size: Bytes;
  readonly #coder = new BinaryCoder(false);
  readonly #operations = new OperationModels(this.#coder);
  readonly #values = new ValueModels(this.#coder);
  #literals: LiteralModel | undefined;
  #made: Bytes = 0;
  /** Where the last operation stopped reading the old file. */
  #oldAt: Bytes = 0;
  readonly #block = new Uint8Array(BLOCK);
  readonly #was = new Int32Array(BLOCK);
  readonly #now = new Int32Array(BLOCK);

  constructor(patch: PatchBytes, old: OldFile, size: Bytes) {
    this.#patch = patch;
    this.#old = old;
    this.#size = size;
  }

  async *run(): AsyncGenerator<Uint8Array, void> {
    await this.#nextFrame();
    for (let left = mostOperations(this.#size); ; left--) {
      if (left < 0) throw invalidPatch('the patch has more operations than any file needs');
      const operation = this.#operations.operation(0);
      if (operation === END) break;
      if (operation === COPY) yield* this.#copy();
      else if (operation === LITERAL) yield* this.#literal();
      else if (operation < VALUES + KINDS) yield* this.#valuesOf((operation - VALUES) as Kind);
      else throw invalidPatch('the patch has an operation that does not exist');
    }
    this.#coder.checkEnd();
    if (this.#made !== this.#size)
      throw invalidPatch(`the patch makes ${this.#made} of the ${this.#size} bytes it promised`);
    for await (const _ of this.#patch.rest()) throw tooLong();
  }

  async *#copy(): AsyncGenerator<Uint8Array, void> {
    const length = this.#operations.number('copy', 0);
    const from = this.#from(length, length);
    await this.#frameEnd();
    for (let at = 0; at < length; at += BLOCK)
      yield await this.#old.read(from + at, Math.min(BLOCK, length - at));
  }

  async *#literal(): AsyncGenerator<Uint8Array, void> {
    const length = this.#operations.number('literal', 0);
    const stride = this.#operations.number('stride', 0);
    this.#grow(length);
    this.#literals ??= new LiteralModel(this.#coder);
    this.#literals.begin(stride);
    await this.#frameEnd();
    for (let at = 0; at < length; at += BLOCK) {
      const bytes = this.#block.subarray(0, Math.min(BLOCK, length - at));
      this.#literals.run(bytes);
      await this.#frameEnd();
      yield bytes;
    }
  }

  async *#valuesOf(kind: Kind): AsyncGenerator<Uint8Array, void> {
    const size = BYTES[kind]!;
    const count = this.#operations.number('count', 0);
    const width = this.#operations.number('width', 0);
    if (width < 1 || width > MAX_WIDTH || width > count)
      throw invalidPatch(`the patch has rows of ${width} values`);
    const drop = kind === KIND.f32 ? this.#operations.number('drop', 0) : 0;
    if (drop > MOST_DROPPED) throw invalidPatch(`the patch leaves out ${drop} bits of a float`);
    const from = this.#from(count * size, count * size);
    const model = this.#values.of(kind);
    model.begin(width, drop);
    await this.#frameEnd();
    for (let at = 0; at < count * size; at += BLOCK) {
      const length = Math.min(BLOCK, count * size - at);
      readOrdered(kind, await this.#old.read(from + at, length), this.#was, length / size, drop);
      model.run(this.#was, this.#now, length / size);
      await this.#frameEnd();
      const bytes = this.#block.subarray(0, length);
      writeOrdered(kind, this.#now, bytes, length / size, drop);
      yield bytes;
    }
  }

  /** Where an operation reads the old file, and that it may. */
  #from(length: Bytes, made: Bytes): Bytes {
    const from = this.#operations.position(this.#oldAt, 0);
    this.#grow(made);
    if (from < 0 || from + length > this.#old.size) throw invalidPatch('the patch reads beyond the old file');
    this.#oldAt = from + length;
    return from;
  }

  #grow(length: Bytes): void {
    if (length < 1) throw invalidPatch('the patch has an operation that makes nothing');
    this.#made += length;
    if (this.#made > this.#size) throw invalidPatch('the patch makes more than it promised');
  }

  async #frameEnd(): Promise<void> {
    if (!this.#operations.frameEnd(false)) return;
    this.#coder.checkEnd();
    await this.#nextFrame();
  }

  async #nextFrame(): Promise<void> {
    const coded = await this.#patch.varint();
    const raw = await this.#patch.varint();
    if (coded + raw > MAX_FRAME) throw invalidPatch('a frame of the patch is too large');
    const bytes = await this.#patch.take(coded + raw);
    this.#coder.open({ coded: bytes.subarray(0, coded), raw: bytes.subarray(coded) });
  }
}
