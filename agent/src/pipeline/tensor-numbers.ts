/** The numbers of an output tensor, whatever its element type. Pure. */
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Tensor, Tensors } from '../inference/backend.ts';

/** IEEE 754 binary16 from its bits: 1 sign, 5 exponent, 10 fraction. */
export function halfOf(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (1024 + fraction) * 2 ** (exponent - 25);
}

/** float16 is decoded, int64 rounded to what a double holds; others are seen as they are, without a copy. */
export function tensorNumbers({ type, data }: Tensor): ArrayLike<number> {
  if (type === 'float16') return Float32Array.from(data as Uint16Array, halfOf);
  if (data instanceof BigInt64Array) return Float64Array.from(data, Number);
  return data;
}

/** @throws SkeinError TENSOR_INVALID when there is no such output */
export function outputNamed(outputs: Tensors, name: string): Tensor {
  const tensor = outputs[name];
  if (tensor) return tensor;
  const found = Object.keys(outputs).join(', ');
  throw new SkeinError('TENSOR_INVALID', `the model gave no output \`${name}\``, {
    fix: `It gives ${found}; pack it again with one of these.`,
  });
}
