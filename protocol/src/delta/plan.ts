/**
 * Decides how the new file is made from the old one. Tensors of an ONNX file go with the tensor of the same name, else
 * with the next one of the same shape; equal ones are copied, others coded against each other. What lies between is
 * compared with what lay between, and else matched as bytes. Two stretches of one length that do not match may still be
 * numbers that moved: a sample says of which kind. Pure.
 */
import type { Bytes } from '../units.ts';
import { BYTES, KIND, type Kind, numberOf, readOrdered } from './elements.ts';
import { MAX_WIDTH } from './format.ts';
import { OldPieces, WINDOW } from './matching.ts';
import { type Tensor, tensorsOf } from './tensor-layout.ts';

export type Step =
  | { make: 'copy'; length: Bytes; oldAt: Bytes }
  | { make: 'literal'; length: Bytes; stride: number }
  | { make: 'values'; length: Bytes; oldAt: Bytes; kind: Kind; width: number };

interface Pair {
  now: Tensor;
  was: Tensor;
}

export function planPatch(old: Uint8Array, now: Uint8Array): Step[] {
  return new Planner(old, now).run();
}

class Planner {
  readonly #old: Uint8Array;
  readonly #new: Uint8Array;
  readonly #steps: Step[] = [];
  #pieces: OldPieces | undefined;
  /** So far made of the new file, and read of the old one. */
  #newAt: Bytes = 0;
  #oldAt: Bytes = 0;

  constructor(old: Uint8Array, now: Uint8Array) {
    this.#old = old;
    this.#new = now;
  }

  run(): Step[] {
    const tensors = tensorsOf(this.#new);
    const partners = partnersOf(tensors, tensorsOf(this.#old));
    for (const now of tensors) {
      const was = partners.get(now);
      // Tensors never overlap in one file; a second reading of the same bytes is not trusted to be so.
      if (now.offset < this.#newAt) continue;
      if (was) {
        this.#between(now.offset, was.offset);
        this.#pair({ now, was });
      } else {
        this.#between(now.offset, undefined);
        this.#alone(now);
      }
    }
    this.#between(this.#new.length, this.#old.length);
    return this.#steps;
  }

  #push(step: Step): void {
    const last = this.#steps.at(-1);
    const joins = step.make === 'copy' && last?.make === 'copy' && last.oldAt + last.length === step.oldAt;
    if (joins) last.length += step.length;
    else if (step.length > 0) this.#steps.push(step);
    this.#newAt += step.length;
    if (step.make !== 'literal') this.#oldAt = step.oldAt + step.length;
  }

  #pair({ now, was }: Pair): void {
    const old = this.#old.subarray(was.offset, was.offset + was.length);
    const fresh = this.#new.subarray(now.offset, now.offset + now.length);
    if (commonStart(old, fresh) === fresh.length) {
      this.#push({ make: 'copy', length: now.length, oldAt: was.offset });
    } else {
      const width = widthOf(now, old, fresh);
      this.#push({ make: 'values', length: now.length, oldAt: was.offset, kind: now.kind, width });
    }
  }

  /** A tensor that the old file has not, unless its bytes are there under another name and shape. */
  #alone({ offset, length, kind }: Tensor): void {
    this.#matched(offset + length, BYTES[kind]!);
  }

  /** What lies before `newEnd`, most likely what lay before `oldEnd`. */
  #between(newEnd: Bytes, oldEnd: Bytes | undefined): void {
    if (oldEnd !== undefined && oldEnd < this.#oldAt) {
      this.#matched(newEnd, 1);
      return;
    }
    const old = this.#old.subarray(this.#oldAt, oldEnd ?? this.#old.length);
    const fresh = this.#new.subarray(this.#newAt, newEnd);
    const start = commonStart(old, fresh);
    if (start > 0) this.#push({ make: 'copy', length: start, oldAt: this.#oldAt });
    if (start === fresh.length) return;
    const end = oldEnd === undefined ? 0 : commonEnd(old.subarray(start), fresh.subarray(start));
    const oldMiddle = oldEnd === undefined ? undefined : oldEnd - end;
    this.#matched(newEnd - end, 1, oldMiddle);
    if (end > 0) this.#push({ make: 'copy', length: end, oldAt: oldEnd! - end });
  }

  /** Bytes without structure. @param oldEnd where their counterpart ends, when it is thought to be there */
  #matched(newEnd: Bytes, stride: number, oldEnd?: Bytes): void {
    const moved = this.#guess(newEnd, oldEnd);
    if (newEnd - this.#newAt >= WINDOW && !(moved && moved.cost < SURELY_NUMBERS)) {
      this.#pieces ??= new OldPieces(this.#old);
      for (const match of this.#pieces.find(this.#new, this.#newAt, newEnd)) {
        this.#gap(match.newAt, stride, match.oldAt);
        this.#push({ make: 'copy', length: match.length, oldAt: match.oldAt });
      }
    }
    this.#gap(newEnd, stride, oldEnd);
  }

  /** Bytes that nothing matches: numbers that moved, if as many lie there in the old file, else literal. */
  #gap(newEnd: Bytes, stride: number, oldEnd: Bytes | undefined): void {
    const length = newEnd - this.#newAt;
    if (length <= 0) return;
    const oldAt = this.#oldAt;
    const guess = this.#guess(newEnd, oldEnd);
    const { kind, phase } = guess ?? { kind: KIND.u8, phase: length };
    const whole = length - phase - ((length - phase) % BYTES[kind]!);
    this.#push({ make: 'literal', length: phase, stride });
    this.#push({ make: 'values', length: whole, oldAt: oldAt + phase, kind, width: 1 });
    this.#push({ make: 'literal', length: length - phase - whole, stride: 1 });
  }

  /** What kind of numbers lies up to `newEnd`, if as many bytes lie up to `oldEnd`. */
  #guess(newEnd: Bytes, oldEnd: Bytes | undefined): Guess | undefined {
    const length = newEnd - this.#newAt;
    const from = this.#oldAt;
    const counterpart = oldEnd === undefined ? from + length <= this.#old.length : oldEnd - from === length;
    if (!counterpart) return undefined;
    return guessKind(this.#old.subarray(from, from + length), this.#new.subarray(this.#newAt, newEnd));
  }
}

/** By name, else in order among those of equal type and shape that are left. */
function partnersOf(now: readonly Tensor[], was: readonly Tensor[]): Map<Tensor, Tensor> {
  const shapeOf = ({ kind, dims, length }: Tensor) => `${kind}:${length}:${dims.join()}`;
  const byName = new Map(was.map((tensor) => [tensor.name, tensor]));
  const partners = new Map<Tensor, Tensor>();
  const taken = new Set<Tensor>();
  for (const tensor of now) {
    const found = byName.get(tensor.name);
    if (!found || taken.has(found) || found.kind !== tensor.kind || found.length !== tensor.length) continue;
    partners.set(tensor, found);
    taken.add(found);
  }
  const left = Map.groupBy(
    was.filter((tensor) => !taken.has(tensor)),
    shapeOf,
  );
  for (const tensor of now) {
    const found = partners.has(tensor) ? undefined : left.get(shapeOf(tensor))?.shift();
    if (found) partners.set(tensor, found);
  }
  return partners;
}

function commonStart(a: Uint8Array, b: Uint8Array): number {
  const most = Math.min(a.length, b.length);
  let at = 0;
  while (at < most && a[at] === b[at]) at++;
  return at;
}

function commonEnd(a: Uint8Array, b: Uint8Array): number {
  const most = Math.min(a.length, b.length);
  let count = 0;
  while (count < most && a[a.length - 1 - count] === b[b.length - 1 - count]) count++;
  return count;
}

const SAMPLE = 8192;

/** Row width whose changes resemble the row above most: each product of the last dimensions is tried. */
function widthOf({ dims, kind }: Tensor, old: Uint8Array, fresh: Uint8Array): number {
  const widths = dims.map((_, i) => dims.slice(i).reduce((product, dim) => product * dim, 1)).slice(1);
  const all = old.length / BYTES[kind]!;
  const candidates = [...new Set(widths)].filter((width) => width > 1 && width <= Math.min(all, MAX_WIDTH));
  if (candidates.length < 2) return candidates[0] ?? 1;
  const count = Math.min(all, Math.max(SAMPLE, 4 * candidates[0]!));
  const changes = changesOf(kind, old, fresh, count);
  let best = { width: 1, cost: Infinity };
  for (const width of candidates) {
    let cost = 0;
    for (let i = width; i < count; i++) cost += Math.abs(changes[i]! - changes[i - width]!);
    cost /= count - width || 1;
    if (count > width && cost < best.cost) best = { width, cost };
  }
  return best.cost === Infinity ? candidates.at(-1)! : best.width;
}

function changesOf(kind: Kind, old: Uint8Array, fresh: Uint8Array, count: number): Float64Array {
  const [a, b] = [new Int32Array(count), new Int32Array(count)];
  readOrdered(kind, old, a, count);
  readOrdered(kind, fresh, b, count);
  return Float64Array.from(a, (was, i) => numberOf(kind, b[i]!) - numberOf(kind, was));
}

/** Kinds that unlabelled numbers may have, and from how many bits a byte on they are thought to be none. */
const GUESSES: readonly Kind[] = [KIND.f32, KIND.bf16, KIND.f16, KIND.i8];
const NO_NUMBERS = 7.5;
const LEAST_GUESSED = 64;

/** Below this many bits a byte nobody looks for matches first. */
const SURELY_NUMBERS = 6.5;

interface Guess {
  kind: Kind;
  phase: number;
  /** Bits a byte, about. */
  cost: number;
}

/** The kind and alignment by which two stretches of one length differ least; undefined: by none. */
function guessKind(old: Uint8Array, fresh: Uint8Array): Guess | undefined {
  if (fresh.length < LEAST_GUESSED) return undefined;
  let best: Guess = { kind: KIND.i8, phase: 0, cost: NO_NUMBERS };
  for (const kind of GUESSES) {
    for (let phase = 0; phase < BYTES[kind]!; phase++) {
      const cost = costOf(kind, old.subarray(phase), fresh.subarray(phase));
      if (cost < best.cost) best = { kind, phase, cost };
    }
  }
  return best.cost < NO_NUMBERS ? best : undefined;
}

/** Looked at in so many places, so that what was inserted half way is noticed. */
const PLACES = 8;

/** About how many bits a byte costs: length of the difference, its sign and the uncertainty of the length. */
function costOf(kind: Kind, old: Uint8Array, fresh: Uint8Array): number {
  const size = BYTES[kind]!;
  const all = Math.floor(fresh.length / size);
  const count = Math.min(Math.ceil(all / PLACES), SAMPLE / PLACES);
  const [a, b] = [new Int32Array(count), new Int32Array(count)];
  let bits = 0;
  for (let place = 0; place < PLACES; place++) {
    const at = Math.floor(((all - count) * place) / (PLACES - 1)) * size;
    readOrdered(kind, old.subarray(at), a, count);
    readOrdered(kind, fresh.subarray(at), b, count);
    for (let i = 0; i < count; i++) {
      const difference = Math.abs(b[i]! - a[i]!);
      bits += difference === 0 ? 0.3 : 32 - Math.clz32(difference) + 2;
    }
  }
  return bits / (PLACES * count * size);
}
