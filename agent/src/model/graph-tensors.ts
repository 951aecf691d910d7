/** Tensors of an ONNX graph: their types, shapes and values, read and made. Pure. */
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Int64, TensorProto, ValueInfoProto } from './graph-schema.ts';

/** TensorProto.DataType */
export const DATA_TYPE = {
  float: 1,
  uint8: 2,
  int8: 3,
  int32: 6,
  int64: 7,
  bool: 9,
  float16: 10,
  double: 11,
} as const;
const DATA_TYPE_NAMES: Record<number, string> = {
  1: 'float32',
  2: 'uint8',
  3: 'int8',
  4: 'uint16',
  5: 'int16',
  6: 'int32',
  7: 'int64',
  8: 'string',
  9: 'bool',
  10: 'float16',
  11: 'float64',
  12: 'uint32',
  13: 'uint64',
  16: 'bfloat16',
};
export const dataTypeName = (type: number): string => DATA_TYPE_NAMES[type] ?? `type ${type}`;

export const invalidModel = (message: string, fix?: string, cause?: unknown): SkeinError =>
  new SkeinError('MODEL_INVALID', message, { ...(fix ? { fix } : {}), cause });

export const toNumber = (value: Int64 | undefined): number =>
  value === undefined ? 0 : typeof value === 'number' ? value : value.toNumber();

export const dimsOf = (tensor: TensorProto): number[] => tensor.dims.map(toNumber);

/** Bytes of one value in raw data; strings and packed half-bytes have none. */
const VALUE_BYTES: Record<number, number> = {
  ...{ 1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1 },
  ...{ 10: 2, 11: 8, 12: 4, 13: 8, 16: 2 },
};

/** Nobody may believe a shape before this: what is made by it would be as large as it claims. @throws SkeinError MODEL_INVALID */
export function checkSize(tensor: TensorProto): void {
  const size = VALUE_BYTES[tensor.dataType];
  if (!size) return;
  const dims = dimsOf(tensor);
  const count = dims.reduce((product, dim) => product * dim, 1);
  const { rawData, floatData, int32Data, int64Data, doubleData, uint64Data } = tensor;
  const listed = [floatData, int32Data, int64Data, doubleData, uint64Data].find((list) => list?.length);
  const found = rawData?.length ? rawData.length / size : (listed?.length ?? 0);
  if (found !== count || dims.some((dim) => dim < 0))
    throw invalidModel(`\`${tensor.name}\` has ${found} values, its shape ${count}`);
}

/** Raw little-endian values, moved to an aligned buffer. */
const aligned = (raw: Uint8Array): ArrayBuffer => Uint8Array.from(raw).buffer;

/** Float values of an initializer, from either encoding. @throws SkeinError MODEL_INVALID for another type or a short buffer */
export function floatsOf(tensor: TensorProto): Float32Array {
  if (tensor.dataType !== DATA_TYPE.float) {
    throw invalidModel(`\`${tensor.name}\` is ${dataTypeName(tensor.dataType)}, float32 is needed`);
  }
  checkSize(tensor);
  const raw = tensor.rawData;
  return raw && raw.length > 0
    ? new Float32Array(aligned(raw), 0, raw.length >> 2)
    : Float32Array.from(tensor.floatData ?? []);
}

/** Values of an int64 initializer as numbers (shapes, axes). @throws SkeinError MODEL_INVALID */
export function int64sOf(tensor: TensorProto): number[] {
  if (tensor.dataType !== DATA_TYPE.int64) {
    throw invalidModel(`\`${tensor.name}\` is ${dataTypeName(tensor.dataType)}, int64 is needed`);
  }
  checkSize(tensor);
  const raw = tensor.rawData;
  return raw && raw.length > 0
    ? Array.from(new BigInt64Array(aligned(raw), 0, raw.length >> 3), Number)
    : (tensor.int64Data ?? []).map(toNumber);
}

const bytesOf = (data: ArrayBufferView): Uint8Array =>
  new Uint8Array(data.buffer, data.byteOffset, data.byteLength);

const tensorOf = (name: string, dataType: number, dims: number[], data: ArrayBufferView): TensorProto => ({
  name,
  dataType,
  dims,
  rawData: bytesOf(data),
});
export const floatTensor = (name: string, dims: number[], data: Float32Array): TensorProto =>
  tensorOf(name, DATA_TYPE.float, dims, data);
/** @param data raw bits */
export const float16Tensor = (name: string, dims: number[], data: Uint16Array): TensorProto =>
  tensorOf(name, DATA_TYPE.float16, dims, data);
export const int8Tensor = (name: string, dims: number[], data: Int8Array): TensorProto =>
  tensorOf(name, DATA_TYPE.int8, dims, data);
export const uint8Tensor = (name: string, dims: number[], data: Uint8Array): TensorProto =>
  tensorOf(name, DATA_TYPE.uint8, dims, data);
export const int32Tensor = (name: string, dims: number[], data: Int32Array): TensorProto =>
  tensorOf(name, DATA_TYPE.int32, dims, data);
export const int64Tensor = (name: string, dims: number[], data: readonly number[]): TensorProto =>
  tensorOf(name, DATA_TYPE.int64, dims, BigInt64Array.from(data, BigInt));

/** A graph input or output; -1 is a free dimension, named N. */
export const valueInfo = (name: string, elemType: number, shape: readonly number[]): ValueInfoProto => ({
  name,
  type: {
    tensorType: {
      elemType,
      shape: { dim: shape.map((dim) => (dim < 0 ? { dimParam: 'N' } : { dimValue: dim })) },
    },
  },
});
export const floatValue = (name: string, shape: number[]): ValueInfoProto =>
  valueInfo(name, DATA_TYPE.float, shape);
