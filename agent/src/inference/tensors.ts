/** Tensors as values: element types and checks against a model's declaration. */
import { SkeinError } from '@skein/protocol/errors.ts';
import type { TensorSpec } from '@skein/protocol/manifest.ts';
import type { Bytes } from '@skein/protocol/units.ts';
import type { Tensor, TensorData, Tensors } from './backend.ts';

type ArrayOf = (buffer: ArrayBufferLike, offset: Bytes, length: number) => TensorData;

const ELEMENTS: Record<TensorSpec['type'], { bytes: Bytes; view: ArrayOf }> = {
  float32: { bytes: 4, view: (b, o, n) => new Float32Array(b, o, n) },
  float64: { bytes: 8, view: (b, o, n) => new Float64Array(b, o, n) },
  float16: { bytes: 2, view: (b, o, n) => new Uint16Array(b, o, n) },
  int8: { bytes: 1, view: (b, o, n) => new Int8Array(b, o, n) },
  uint8: { bytes: 1, view: (b, o, n) => new Uint8Array(b, o, n) },
  bool: { bytes: 1, view: (b, o, n) => new Uint8Array(b, o, n) },
  int32: { bytes: 4, view: (b, o, n) => new Int32Array(b, o, n) },
  int64: { bytes: 8, view: (b, o, n) => new BigInt64Array(b, o, n) },
};

export const ELEMENT_TYPES = Object.keys(ELEMENTS) as TensorSpec['type'][];

/** More elements than this in one tensor is refused before anything is allocated: 256 Mi. */
const MAX_ELEMENTS = 2 ** 28;

/** Bytes of one element. */
export const elementBytes = (type: TensorSpec['type']): Bytes => ELEMENTS[type].bytes;

export const elementCount = (dims: readonly number[]): number =>
  dims.reduce((product, dim) => product * dim, 1);

export const viewOf = (
  type: TensorSpec['type'],
  buffer: ArrayBufferLike,
  offset: Bytes,
  length: number,
): TensorData => ELEMENTS[type].view(buffer, offset, length);

const wrong = (message: string, data: Record<string, unknown>) =>
  new SkeinError('TENSOR_INVALID', message, {
    fix: 'Send every input with the name, type and shape that the model declares.',
    data,
  });

const shapeText = (dims: readonly number[]): string => `[${dims.map((d) => (d < 0 ? '?' : d)).join(', ')}]`;

function checkTensor(tensor: Tensor, spec: TensorSpec): void {
  const { name } = spec;
  if (tensor.type !== spec.type) {
    throw wrong(`input \`${name}\` has type ${tensor.type}, the model takes ${spec.type}`, { name });
  }
  const fits =
    tensor.dims.length === spec.shape.length &&
    spec.shape.every((dim, axis) => (dim < 0 ? (tensor.dims[axis] ?? 0) >= 1 : dim === tensor.dims[axis]));
  if (!fits) {
    throw wrong(
      `input \`${name}\` has shape ${shapeText(tensor.dims)}, the model takes ${shapeText(spec.shape)}`,
      { name, expected: spec.shape, found: tensor.dims },
    );
  }
  const count = elementCount(tensor.dims);
  if (tensor.data.length !== count || count > MAX_ELEMENTS) {
    throw wrong(`input \`${name}\` has ${tensor.data.length} values, its shape needs ${count}`, { name });
  }
}

/** Every declared input is there, with its type and shape, and nothing else. @throws SkeinError TENSOR_INVALID */
export function checkInputs(inputs: Tensors, specs: readonly TensorSpec[]): void {
  for (const spec of specs) {
    const tensor = inputs[spec.name];
    if (!tensor) throw wrong(`input \`${spec.name}\` is missing`, { name: spec.name });
    checkTensor(tensor, spec);
  }
  if (Object.keys(inputs).length === specs.length) return;
  const unknown = Object.keys(inputs).find((name) => !specs.some((spec) => spec.name === name));
  throw wrong(`the model has no input \`${unknown}\``, { name: unknown });
}

/** Inputs of zeros; a free dimension becomes 1. For warm-up. */
export const zeroInputs = (specs: readonly TensorSpec[]): Tensors =>
  Object.fromEntries(
    specs.map((spec) => {
      const dims = spec.shape.map((dim) => Math.max(1, dim));
      const count = elementCount(dims);
      const buffer = new ArrayBuffer(count * ELEMENTS[spec.type].bytes);
      return [spec.name, { type: spec.type, dims, data: viewOf(spec.type, buffer, 0, count) }];
    }),
  );

/** binary16: an exponent of ones is an infinity or NaN. */
const isNotFiniteHalf = (bits: number): boolean => (bits & 0x7c00) === 0x7c00;

/** True when no floating-point output holds NaN or an infinity. */
export function allFinite(tensors: Tensors): boolean {
  for (const name in tensors) {
    const { type, data } = tensors[name]!;
    if (type === 'float16' && (data as Uint16Array).some(isNotFiniteHalf)) return false;
    if (!(data instanceof Float32Array || data instanceof Float64Array)) continue;
    for (let i = 0; i < data.length; i++) if (!Number.isFinite(data[i])) return false;
  }
  return true;
}
