/** Samples as the tensors that a model declares. Pure. */
import { SkeinError } from '@skein/protocol/errors.ts';
import type { TensorSpec } from '@skein/protocol/manifest.ts';
import type { Tensor, TensorData, Tensors } from '../../inference/backend.ts';
import { elementCount, viewOf } from '../../inference/tensors.ts';
import { float16Bits } from '../float16.ts';
import { type Sample, shapeText, type Values } from './samples.ts';

const wrong = (where: string, message: string, fix: string) =>
  new SkeinError('TENSOR_INVALID', `${where}: ${message}`, { fix });

/** Values of one sample; free dimensions count as 1. */
export const sampleWidth = (spec: TensorSpec): number =>
  elementCount(spec.shape.map((dim) => Math.max(1, dim)));

const withoutOnes = (shape: readonly number[]) => shape.filter((dim) => dim !== 1);

/**
 * The tensor's shape for one sample: as declared, the first free dimension 1, others as the sample has them. A flat
 * sample fills any shape; one of several axes must have the declared ones, so that no layout is mistaken for another.
 */
function dimsFor(where: string, spec: TensorSpec, { shape, values }: Values): number[] {
  const expected = `\`${spec.name}\` ${shapeText(spec.shape)} takes`;
  const fix = 'Give one sample of that shape after another on the first axis.';
  const dims = [...spec.shape];
  const batch = dims[0]! < 0 ? 0 : -1;
  if (batch === 0) dims[0] = 1;
  const free = dims.flatMap((dim, axis) => (dim < 0 ? [axis] : []));
  const inner =
    shape.length === dims.length ? shape : dims.length - shape.length === 1 ? [1, ...shape] : undefined;
  if (free.length > 0 && inner) for (const axis of free) dims[axis] = inner[axis]!;
  else if (free.length === 1) {
    const rest = elementCount(dims.map((dim) => (dim < 0 ? 1 : dim)));
    dims[free[0]!] = Math.max(1, Math.floor(values.length / Math.max(1, rest)));
  } else if (free.length > 1)
    throw wrong(where, `${expected} several free dimensions, the sample is ${shapeText(shape)}`, fix);
  const width = elementCount(dims);
  if (values.length !== width) throw wrong(where, `${values.length} values given, ${expected} ${width}`, fix);
  const [given, declared] = [withoutOnes(shape), withoutOnes(dims)];
  const fits = given.length < 2 || declared.length < 2 || given.every((dim, axis) => dim === declared[axis]);
  if (!fits)
    throw wrong(where, `a sample of shape ${shapeText(shape)} given, ${expected} another order of axes`, fix);
  return dims;
}

const INTEGER_RANGE: Partial<Record<TensorSpec['type'], readonly [number, number]>> = {
  int8: [-128, 127],
  uint8: [0, 255],
  int32: [-(2 ** 31), 2 ** 31 - 1],
  bool: [0, 1],
};

function fill(where: string, spec: TensorSpec, data: TensorData, values: Values['values']): void {
  const range = INTEGER_RANGE[spec.type];
  const refuse = (value: number | bigint) =>
    wrong(
      where,
      `${value} does not fit \`${spec.name}\` of type ${spec.type}`,
      'Scale or round the data first.',
    );
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    if (spec.type === 'int64') {
      if (typeof value === 'number' && !Number.isSafeInteger(value)) throw refuse(value);
      (data as BigInt64Array)[i] = BigInt(value);
      if ((data as BigInt64Array)[i] !== BigInt(value)) throw refuse(value);
      continue;
    }
    const number = Number(value);
    if (typeof value === 'bigint' && !Number.isSafeInteger(number)) throw refuse(value);
    if (range && !(Number.isInteger(number) && number >= range[0] && number <= range[1]))
      throw refuse(number);
    (data as Float32Array)[i] = spec.type === 'float16' ? float16Bits(number) : number;
  }
}

/** @throws SkeinError TENSOR_INVALID, naming the sample, what it holds and what is expected */
export function tensorFrom(where: string, spec: TensorSpec, values: Values): Tensor {
  const dims = dimsFor(where, spec, values);
  const data = viewOf(spec.type, new ArrayBuffer(values.values.length * 8), 0, values.values.length);
  if (
    spec.type === 'float32' &&
    !(values.values instanceof BigInt64Array || values.values instanceof BigUint64Array)
  )
    (data as Float32Array).set(values.values);
  else fill(where, spec, data, values.values);
  return { type: spec.type, dims, data };
}

/** A sample as the model's inputs, without preprocessing. @throws SkeinError TENSOR_INVALID */
export function tensorsFrom({ where, content }: Sample, specs: readonly TensorSpec[]): Tensors {
  const names = specs.map(({ name }) => name).join(', ');
  if (content.kind === 'picture')
    throw wrong(
      where,
      'a picture given, numbers are expected',
      'Say how pictures become tensors: --preprocess FILE.',
    );
  if (content.kind === 'values') {
    const [spec, ...others] = specs;
    if (spec && others.length === 0) return { [spec.name]: tensorFrom(where, spec, content) };
    throw wrong(
      where,
      `one array given, the model takes ${specs.length} inputs: ${names}`,
      'Give a .npz or .jsonl with one array for each input name.',
    );
  }
  const unknown = Object.keys(content.arrays).find((name) => !specs.some((spec) => spec.name === name));
  const fix = `Name the arrays as the model names its inputs: ${names}.`;
  if (unknown !== undefined && Object.keys(content.arrays).length === 1 && specs.length === 1)
    return { [specs[0]!.name]: tensorFrom(where, specs[0]!, content.arrays[unknown]!) };
  if (unknown !== undefined) throw wrong(where, `the model has no input \`${unknown}\``, fix);
  return Object.fromEntries(
    specs.map((spec) => {
      const values = content.arrays[spec.name];
      if (!values) throw wrong(where, `input \`${spec.name}\` is missing`, fix);
      return [spec.name, tensorFrom(where, spec, values)];
    }),
  );
}
