/**
 * Several requests as one batch: rows are joined along the first dimension and the answer is cut at the same places.
 * Only requests whose tensors agree in everything but the number of rows may share a batch.
 */
import { SkeinError } from '@skein/protocol/errors.ts';
import type { TensorSpec } from '@skein/protocol/manifest.ts';
import type { Tensor, TensorData, Tensors } from './backend.ts';
import { elementCount } from './tensors.ts';

/** Every input and output has a free first dimension: a graph that may be batched, if its answers say so too. */
export const batchable = (inputs: readonly TensorSpec[], outputs: readonly TensorSpec[]): boolean =>
  inputs.length > 0 && [...inputs, ...outputs].every(({ shape }) => shape.length > 0 && shape[0]! < 0);

/** Rows of a request; undefined when its tensors disagree about them, and it must run alone. */
export function rowsOf(tensors: Tensors): number | undefined {
  let rows: number | undefined;
  for (const name in tensors) {
    const [first] = tensors[name]!.dims;
    if (first === undefined || (rows !== undefined && rows !== first)) return undefined;
    rows = first;
  }
  return rows;
}

/** Both have checked inputs of one model: the names are the same, free dimensions beyond the first may differ. */
export function sameRowShape(a: Tensors, b: Tensors): boolean {
  for (const name in a) {
    const [one, other] = [a[name]!.dims, b[name]!.dims];
    for (let axis = 1; axis < one.length; axis++) if (one[axis] !== other[axis]) return false;
  }
  return true;
}

type AnyArray = { new (length: number): TensorData };

function joinTensor(parts: readonly Tensor[]): Tensor {
  const [first] = parts as [Tensor];
  const length = parts.reduce((sum, { data }) => sum + data.length, 0);
  const data = new (first.data.constructor as AnyArray)(length) as Float32Array;
  let at = 0;
  let rows = 0;
  for (const part of parts) {
    data.set(part.data as Float32Array, at);
    at += part.data.length;
    rows += part.dims[0]!;
  }
  return { type: first.type, dims: [rows, ...first.dims.slice(1)], data };
}

/** @param requests at least one; agreeing by {@link sameRowShape}. */
export function joinRows(requests: readonly Tensors[]): Tensors {
  const [first] = requests as [Tensors];
  const joined: Record<string, Tensor> = {};
  for (const name in first) joined[name] = joinTensor(requests.map((request) => request[name]!));
  return joined;
}

/**
 * The answer's rows, request by request; the parts share the answer's memory.
 * @throws SkeinError MODEL_INVALID when an output does not have as many rows as went in
 */
export function splitRows(outputs: Tensors, rows: readonly number[]): Tensors[] {
  const total = rows.reduce((sum, count) => sum + count, 0);
  const parts: Record<string, Tensor>[] = rows.map(() => ({}));
  for (const name in outputs) {
    const { type, dims, data } = outputs[name]!;
    if (dims[0] !== total)
      throw new SkeinError(
        'MODEL_INVALID',
        `output \`${name}\` has ${dims[0]} rows for ${total} that went in`,
      );
    const rest = dims.slice(1);
    const width = elementCount(rest);
    let at = 0;
    let shape = [total, ...rest];
    for (let i = 0; i < rows.length; i++) {
      const count = rows[i]!;
      if (shape[0] !== count) shape = [count, ...rest];
      const part = (data as Float32Array).subarray(at, at + count * width);
      at += count * width;
      parts[i]![name] = { type, dims: shape, data: part };
    }
  }
  return parts;
}
