/**
 * Tensors of the Open Inference Protocol as JSON, both ways. Data may be flat or nested; a nested one must have its shape.
 * Numbers must be finite on the way in; what is not finite on the way out becomes null.
 */
import { SkeinError } from '@skein/protocol/errors.ts';
import type { TensorSpec } from '@skein/protocol/manifest.ts';
import type { Tensor, TensorData } from '../inference/backend.ts';

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
const MAKERS: Partial<Record<TensorSpec['type'], (values: number[]) => TensorData>> = {
  float32: (values) => Float32Array.from(values),
  float64: (values) => Float64Array.from(values),
  int8: (values) => Int8Array.from(values),
  uint8: (values) => Uint8Array.from(values),
  int32: (values) => Int32Array.from(values),
  int64: (values) => BigInt64Array.from(values, BigInt),
  bool: (values) => Uint8Array.from(values),
};

export const tensorView = ({ name, type, shape }: TensorSpec) => ({ name, datatype: DATATYPES[type], shape });

export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

export const invalid = (what: string): SkeinError =>
  new SkeinError('REQUEST_INVALID', what, {
    fix: 'Send {"inputs":[{"name","shape","datatype","data"}]} as the Open Inference Protocol v2 says.',
  });

const wrong = (message: string): SkeinError =>
  new SkeinError('TENSOR_INVALID', message, {
    fix: 'GET /v2/models/NAME names the inputs that the model takes, with type and shape.',
  });

/** @throws SkeinError REQUEST_INVALID, TENSOR_INVALID, INPUT_NOT_FINITE, naming the tensor */
export function readTensor(input: unknown, specs: readonly TensorSpec[]): [string, Tensor] {
  if (!isObject(input) || typeof input.name !== 'string') throw invalid('an input has no `name`');
  const { name, shape, datatype, data } = input;
  const spec = specs.find((candidate) => candidate.name === name);
  if (!spec)
    throw wrong(`the model has no input \`${name}\`; it takes ${specs.map((s) => s.name).join(', ')}`);
  if (!isShape(shape)) throw invalid(`input \`${name}\`: \`shape\` is not a list of sizes`);
  if (datatype !== DATATYPES[spec.type])
    throw wrong(`input \`${name}\` is ${datatype}, the model takes ${DATATYPES[spec.type]}`);
  const make = MAKERS[spec.type];
  if (!make) throw wrong(`input \`${name}\`: ${datatype} cannot be sent as JSON`);
  return [name, { type: spec.type, dims: shape, data: make(flatten(name, data, shape)) }];
}

const isShape = (value: unknown): value is number[] =>
  Array.isArray(value) && value.length <= 8 && value.every((dim) => Number.isInteger(dim) && dim >= 0);

const shapeText = (shape: readonly number[]): string => `[${shape.join(', ')}]`;

/** Row-major values of flat or nested data. @throws SkeinError TENSOR_INVALID */
function flatten(name: string, data: unknown, shape: number[]): number[] {
  if (!Array.isArray(data)) throw invalid(`input \`${name}\`: \`data\` is not an array`);
  const nested = Array.isArray(data[0]);
  if (nested) {
    const found = shapeOf(data);
    if (found.join() !== shape.join())
      throw wrong(`input \`${name}\`: data is ${shapeText(found)}, shape says ${shapeText(shape)}`);
  }
  const values: unknown[] = nested ? data.flat(8) : data;
  const count = shape.reduce((product, dim) => product * dim, 1);
  if (values.length !== count)
    throw wrong(`input \`${name}\` has ${values.length} values, shape ${shapeText(shape)} needs ${count}`);
  return values.map((value, i) => numberAt(name, value, i));
}

function numberAt(name: string, value: unknown, index: number): number {
  if (typeof value === 'number' && Number.isFinite(value)) return value;
  if (typeof value === 'boolean') return value ? 1 : 0;
  throw new SkeinError(
    'INPUT_NOT_FINITE',
    `input \`${name}\`[${index}] is ${JSON.stringify(value)}, not a finite number`,
    {
      fix: 'Fill what is missing before it is sent; POST /v1/predict/NAME does as the model’s manifest says.',
    },
  );
}

function shapeOf(data: unknown): number[] {
  const shape: number[] = [];
  for (let at = data; Array.isArray(at) && shape.length < 9; at = at[0]) shape.push(at.length);
  return shape;
}

/** NaN and infinities have no JSON; they become null. */
export function writeTensor(name: string, tensor: Tensor) {
  const data = Array.from(tensor.data as ArrayLike<number | bigint>, (value) =>
    typeof value === 'bigint' ? Number(value) : Number.isFinite(value) ? value : null,
  );
  return { name, datatype: DATATYPES[tensor.type], shape: tensor.dims, data };
}
