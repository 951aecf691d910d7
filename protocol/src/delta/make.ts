/** Makes a patch. Both files are in memory; the patch comes out piece by piece, so that progress can be shown. */
import type { Bytes } from '../units.ts';
import { BinaryCoder, type Frame } from './binary-coder.ts';
import { BYTES, KIND, readOrdered, zeroBits } from './elements.ts';
import {
  BLOCK,
  COPY,
  END,
  FULL_FRAME,
  invalidPatch,
  LITERAL,
  MAX_SIZE,
  mostOperations,
  VALUES,
  writeHeader,
  writeVarint,
} from './format.ts';
import { LiteralModel, OperationModels } from './operations.ts';
import { planPatch, type Step } from './plan.ts';
import { ValueModels } from './value-model.ts';

/** SHA-256 of the whole. */
export type HashOf = (bytes: Uint8Array) => Uint8Array;

/**
 * The patch's bytes. When a delta would not be smaller, the patch carries the new file as it is.
 * @param onProgress bytes of the new file that are coded
 * @throws SkeinError PATCH_INVALID when a file is too large
 */
export function makePatch(
  old: Uint8Array,
  now: Uint8Array,
  hashOf: HashOf,
  onProgress: (done: Bytes) => void = () => {},
): Uint8Array[] {
  if (old.length > MAX_SIZE || now.length > MAX_SIZE)
    throw invalidPatch(`files above ${MAX_SIZE} bytes have no patch`, 'Take the whole file.');
  const header = (form: 'whole' | 'delta') =>
    writeHeader({
      form,
      oldSize: old.length,
      newSize: now.length,
      oldHash: hashOf(old),
      newHash: hashOf(now),
    });
  const steps = planPatch(old, now);
  if (steps.length > mostOperations(now.length)) return [header('whole'), now];
  const frames = new Writer(old, now).run(steps, onProgress);
  const size = frames.reduce((sum, frame) => sum + frame.length, 0);
  return size < now.length ? [header('delta'), ...frames] : [header('whole'), now];
}

class Writer {
  readonly #old: Uint8Array;
  readonly #new: Uint8Array;
  readonly #coder = new BinaryCoder(true);
  readonly #operations = new OperationModels(this.#coder);
  readonly #literals = new LiteralModel(this.#coder);
  readonly #values = new ValueModels(this.#coder);
  readonly #frames: Uint8Array[] = [];
  readonly #was = new Int32Array(BLOCK);
  readonly #now = new Int32Array(BLOCK);
  #newAt: Bytes = 0;
  #oldAt: Bytes = 0;

  constructor(old: Uint8Array, now: Uint8Array) {
    this.#old = old;
    this.#new = now;
  }

  run(steps: readonly Step[], onProgress: (done: Bytes) => void): Uint8Array[] {
    for (const step of steps) {
      if (step.make === 'copy') this.#copy(step);
      else if (step.make === 'literal') this.#literal(step, onProgress);
      else this.#valuesOf(step, onProgress);
      onProgress(this.#newAt);
    }
    this.#operations.operation(END);
    this.#frames.push(...framed(this.#coder.close()));
    return this.#frames;
  }

  #copy({ length, oldAt }: Extract<Step, { make: 'copy' }>): void {
    this.#operations.operation(COPY);
    this.#operations.number('copy', length);
    this.#from(oldAt, length);
    this.#frameEnd();
    this.#newAt += length;
  }

  #literal({ length, stride }: Extract<Step, { make: 'literal' }>, onProgress: (done: Bytes) => void): void {
    this.#operations.operation(LITERAL);
    this.#operations.number('literal', length);
    this.#operations.number('stride', stride);
    this.#literals.begin(stride);
    this.#frameEnd();
    const end = this.#newAt + length;
    while (this.#newAt < end) {
      const to = Math.min(end, this.#newAt + BLOCK);
      this.#literals.run(this.#new.subarray(this.#newAt, to));
      this.#newAt = to;
      this.#frameEnd();
      onProgress(this.#newAt);
    }
  }

  #valuesOf(step: Extract<Step, { make: 'values' }>, onProgress: (done: Bytes) => void): void {
    const { kind, length, width, oldAt } = step;
    const size = BYTES[kind]!;
    this.#operations.operation(VALUES + kind);
    this.#operations.number('count', length / size);
    this.#operations.number('width', width);
    const drop = kind === KIND.f32 ? zeroBits(this.#new.subarray(this.#newAt, this.#newAt + length)) : 0;
    if (kind === KIND.f32) this.#operations.number('drop', drop);
    this.#from(oldAt, length);
    const model = this.#values.of(kind);
    model.begin(width, drop);
    this.#frameEnd();
    for (let at = 0; at < length; at += BLOCK) {
      const bytes = Math.min(BLOCK, length - at);
      readOrdered(kind, this.#old.subarray(oldAt + at), this.#was, bytes / size, drop);
      readOrdered(kind, this.#new.subarray(this.#newAt), this.#now, bytes / size, drop);
      model.run(this.#was, this.#now, bytes / size);
      this.#newAt += bytes;
      this.#frameEnd();
      onProgress(this.#newAt);
    }
  }

  #from(oldAt: Bytes, length: Bytes): void {
    this.#operations.position(this.#oldAt, oldAt);
    this.#oldAt = oldAt + length;
  }

  #frameEnd(): void {
    const full = this.#coder.written >= FULL_FRAME;
    this.#operations.frameEnd(full);
    if (full) this.#frames.push(...framed(this.#coder.close()));
  }
}

function framed({ coded, raw }: Frame): Uint8Array[] {
  const head: number[] = [];
  writeVarint(coded.length, head);
  writeVarint(raw.length, head);
  return [Uint8Array.from(head), coded, raw];
}
