/**
 * Calls that repeat. A client sends the same JSON before other bytes again and again, and is answered with the same JSON
 * before other bytes: what was read of the latest such call is kept for each model, and so is what was written for it.
 * Kept is only what follows from bytes that are compared, so a call that repeats is answered as if it were the first.
 */
import type { TensorSpec } from '@skein/protocol/manifest.ts';
import { type Bytes, KIB } from '@skein/protocol/units.ts';
import type { Tensor, Tensors } from '../inference/backend.ts';
import { tensorOfBytes } from './oip-bytes.ts';

/** Longer ones hold tensors as JSON, and no two are alike. */
export const MAX_REPEATED: Bytes = 4 * KIB;

type Shape = Pick<Tensor, 'type' | 'dims'>;
interface RepeatedInput extends Pick<TensorSpec, 'name' | 'type'> {
  dims: readonly number[];
  size: Bytes;
}

/** @typeParam C what else the JSON says */
export class Repeated<C> {
  readonly call: C;
  readonly #header: Uint8Array;
  readonly #inputs: readonly RepeatedInput[];
  readonly #size: Bytes;
  #answer: { version: string; shapes: readonly Shape[]; header: Uint8Array } | undefined;

  constructor(header: Uint8Array, inputs: readonly RepeatedInput[], call: C) {
    this.call = call;
    this.#header = new Uint8Array(header);
    this.#inputs = inputs;
    this.#size = inputs.reduce((sum, { size }) => sum + size, 0);
  }

  /** @returns undefined unless `header` is the same and `rest` as long as it says. @throws SkeinError TENSOR_INVALID */
  inputsOf(header: Uint8Array, rest: Uint8Array): Tensors | undefined {
    if (rest.length !== this.#size || !sameBytes(header, this.#header)) return undefined;
    const tensors: Record<string, Tensor> = {};
    let at = 0;
    for (const input of this.#inputs) {
      tensors[input.name] = tensorOfBytes(input, input.dims, rest.subarray(at, at + input.size));
      at += input.size;
    }
    return tensors;
  }

  /** @returns the JSON of the answer before, if its outputs' types and shapes were these, all sent as bytes */
  headerOf(version: string, outputs: readonly Tensor[]): Uint8Array | undefined {
    const before = this.#answer;
    if (before?.version !== version || before.shapes.length !== outputs.length) return undefined;
    return outputs.every((output, i) => sameShape(output, before.shapes[i]!)) ? before.header : undefined;
  }

  answered(version: string, outputs: readonly Tensor[], header: Uint8Array): void {
    this.#answer = { version, shapes: outputs.map(({ type, dims }) => ({ type, dims })), header };
  }
}

const sameBytes = (a: Uint8Array, b: Uint8Array): boolean => {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
};

const sameShape = (a: Shape, b: Shape): boolean =>
  a.type === b.type && a.dims.length === b.dims.length && a.dims.every((dim, axis) => dim === b.dims[axis]);
