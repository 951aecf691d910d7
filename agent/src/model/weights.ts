/** Values of initializers of any numeric type, and what they say about a model. Pure. */
import { halfOf } from '../pipeline/tensor-numbers.ts';
import { dimsOf, type TensorProto } from './graph.ts';

/** TensorProto.DataType → bytes of an element and how raw data (little-endian) become numbers. */
const RAW: Record<number, { bytes: number; read(raw: ArrayBuffer): ArrayLike<number | bigint> }> = {
  1: { bytes: 4, read: (b) => new Float32Array(b) },
  2: { bytes: 1, read: (b) => new Uint8Array(b) },
  3: { bytes: 1, read: (b) => new Int8Array(b) },
  4: { bytes: 2, read: (b) => new Uint16Array(b) },
  5: { bytes: 2, read: (b) => new Int16Array(b) },
  6: { bytes: 4, read: (b) => new Int32Array(b) },
  7: { bytes: 8, read: (b) => new BigInt64Array(b) },
  9: { bytes: 1, read: (b) => new Uint8Array(b) },
  10: { bytes: 2, read: (b) => Float32Array.from(new Uint16Array(b), halfOf) },
  11: { bytes: 8, read: (b) => new Float64Array(b) },
  // bfloat16 is the upper half of a float32.
  16: {
    bytes: 2,
    read: (b) => new Float32Array(Uint32Array.from(new Uint16Array(b), (x) => x << 16).buffer),
  },
};

export const FLOAT_TYPES: ReadonlySet<number> = new Set([1, 10, 11, 16]);

export const elementsOf = (tensor: TensorProto): number =>
  dimsOf(tensor).reduce((product, dim) => product * dim, 1);

export const bytesOf = (tensor: TensorProto): number =>
  tensor.rawData?.length || elementsOf(tensor) * (RAW[tensor.dataType]?.bytes ?? 1);

/** undefined: another type, or the bytes are elsewhere. */
export function numbersIn(tensor: TensorProto): ArrayLike<number | bigint> | undefined {
  const raw = RAW[tensor.dataType];
  if (!raw || tensor.dataLocation === 1) return undefined;
  if (tensor.rawData && tensor.rawData.length > 0) {
    const whole = tensor.rawData.length - (tensor.rawData.length % raw.bytes);
    return raw.read(Uint8Array.from(tensor.rawData.subarray(0, whole)).buffer);
  }
  // Halves are stored as their bits in int32_data.
  if (tensor.dataType === 10) return Array.from(tensor.int32Data ?? [], halfOf);
  if (tensor.dataType === 7) return Array.from(tensor.int64Data ?? [], Number);
  const typed = [tensor.floatData, tensor.int32Data, tensor.doubleData].find(
    (list) => (list?.length ?? 0) > 0,
  );
  return typed ?? [];
}

export interface WeightFacts {
  count: number;
  zeros: number;
  notFinite: number;
}

export function factsOf(values: ArrayLike<number | bigint>): WeightFacts {
  let [zeros, notFinite] = [0, 0];
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    if (value === 0 || value === 0n) zeros++;
    else if (typeof value === 'number' && !Number.isFinite(value)) notFinite++;
  }
  return { count: values.length, zeros, notFinite };
}
