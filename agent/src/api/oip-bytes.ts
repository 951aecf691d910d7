/**
 * Tensors as their little-endian bytes, as gRPC's raw contents and the binary tensor extension carry them. Nothing is
 * copied that need not be: a tensor shares the memory of its message where that is aligned.
 */
import { SkeinError } from '@skein/protocol/errors.ts';
import type { TensorSpec } from '@skein/protocol/manifest.ts';
import type { Bytes } from '@skein/protocol/units.ts';
import type { Tensor, TensorData } from '../inference/backend.ts';
import { elementBytes, elementCount, viewOf } from '../inference/tensors.ts';

/** The protocol’s names of element types. */
export const DATATYPES: Record<TensorSpec['type'], string> = {
  float32: 'FP32',
  float64: 'FP64',
  float16: 'FP16',
  int8: 'INT8',
  uint8: 'UINT8',
  int32: 'INT32',
  int64: 'INT64',
  bool: 'BOOL',
};

export const shapeText = (shape: readonly number[]): string => `[${shape.join(', ')}]`;

/** @param dims not negative. @throws SkeinError TENSOR_INVALID unless the bytes are just what the shape needs */
export function tensorOfBytes(
  { name, type }: Pick<TensorSpec, 'name' | 'type'>,
  dims: readonly number[],
  bytes: Uint8Array,
): Tensor {
  const size = elementBytes(type);
  const count = elementCount(dims);
  if (bytes.byteLength !== count * size)
    throw new SkeinError(
      'TENSOR_INVALID',
      `input \`${name}\` has ${bytes.byteLength} bytes, ${DATATYPES[type]} of shape ${shapeText(dims)} needs ${count * size}`,
      {
        fix: 'Send the values row by row, little-endian, without padding.',
        data: { name, expected: count * size, found: bytes.byteLength },
      },
    );
  return { type, dims, data: dataOf(type, bytes, count) };
}

function dataOf(type: TensorSpec['type'], bytes: Uint8Array, count: number): TensorData {
  // A byte that is neither 0 nor 1 is no boolean to the runtime.
  if (type === 'bool') return bytes.map((byte) => (byte === 0 ? 0 : 1));
  const { buffer, byteOffset } = alignedTo(elementBytes(type), bytes);
  return viewOf(type, buffer, byteOffset, count);
}

/** A small copy comes from Node's pool, which aligns to 8 bytes: memory of its own costs more than the copy. */
function alignedTo(size: Bytes, bytes: Uint8Array): Uint8Array {
  if (bytes.byteOffset % size === 0) return bytes;
  const copy = Buffer.from(bytes);
  return copy.byteOffset % size === 0 ? copy : new Uint8Array(bytes);
}

/** The tensor's own memory: valid as long as the tensor is. */
export const bytesOfTensor = ({ data }: Tensor): Uint8Array =>
  new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
