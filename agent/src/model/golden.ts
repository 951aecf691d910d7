/** Golden vectors: inputs with the float reference's outputs, by which any device can tell that a model works. */
import { SkeinError } from '@skein/protocol/errors.ts';
import type { GoldenVectors, TensorSpec } from '@skein/protocol/manifest.ts';
import type { Tensor, Tensors } from '../inference/backend.ts';
import { elementCount, viewOf } from '../inference/tensors.ts';
import { tensorNumbers } from '../pipeline/tensor-numbers.ts';

type Flat = GoldenVectors['vectors'][number]['inputs'];

const flatten = (tensors: Tensors, numbersOf: (tensor: Tensor) => ArrayLike<number>): Flat =>
  Object.fromEntries(
    Object.entries(tensors).map(([name, tensor]) => [
      name,
      { shape: [...tensor.dims], data: Array.from(numbersOf(tensor), Number) },
    ]),
  );

/** float16 as its raw bits: what {@link goldenInputs} makes tensors of. */
const asFed = ({ data }: Tensor) => data as Float32Array;

/** Inputs and outputs in the same order. */
export const goldenFrom = (inputs: readonly Tensors[], outputs: readonly Tensors[]): GoldenVectors => ({
  format: 1,
  vectors: inputs.map((input, i) => ({
    inputs: flatten(input, asFed),
    outputs: flatten(outputs[i]!, tensorNumbers),
  })),
});

/** The inputs of one vector as the tensors that `specs` declare. @throws SkeinError BUNDLE_INVALID */
export function goldenInputs(
  vector: GoldenVectors['vectors'][number],
  specs: readonly TensorSpec[],
): Tensors {
  return Object.fromEntries(
    specs.map((spec): [string, Tensor] => {
      const flat = vector.inputs[spec.name];
      if (!flat || flat.data.length !== elementCount(flat.shape)) {
        throw new SkeinError('BUNDLE_INVALID', `a golden vector has no usable input \`${spec.name}\``);
      }
      const bytes = new ArrayBuffer(flat.data.length * 8);
      const data = viewOf(spec.type, bytes, 0, flat.data.length);
      flat.data.forEach((value, i) => {
        (data as Float32Array)[i] = (spec.type === 'int64' ? BigInt(value) : value) as number;
      });
      return [spec.name, { type: spec.type, dims: flat.shape, data }];
    }),
  );
}

/** Largest absolute difference of any output value; Infinity for another shape, NaN or a missing output. */
export function goldenDifference(vector: GoldenVectors['vectors'][number], found: Tensors): number {
  let largest = 0;
  for (const [name, { data }] of Object.entries(vector.outputs)) {
    const values = found[name] && tensorNumbers(found[name]);
    if (!values || values.length !== data.length) return Number.POSITIVE_INFINITY;
    for (let i = 0; i < data.length; i++) {
      const difference = Math.abs(Number(values[i]) - data[i]!);
      if (!(difference <= largest))
        largest = Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference;
    }
  }
  return largest;
}
