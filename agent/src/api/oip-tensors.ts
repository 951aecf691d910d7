/**
 * Tensors of the Open Inference Protocol as the server sees them, both ways: as JSON numbers, or as bytes behind the JSON
 * (Triton's binary tensor extension: little-endian, row-major, no padding, in the order in which the JSON names them).
 * JSON data may be flat or nested; a nested one must have its shape. JSON has no NaN: on the way in it is refused, on the
 * way out what is not finite becomes null. Every error names the tensor, what was found and what was expected.
 */
import { SkeinError } from '@skein/protocol/errors.ts';
import type { TensorSpec } from '@skein/protocol/manifest.ts';
import type { Bytes } from '@skein/protocol/units.ts';
import type { Tensor, TensorData } from '../inference/backend.ts';
import { elementBytes, elementCount, viewOf } from '../inference/tensors.ts';
import { DATATYPES, shapeText, tensorOfBytes } from './oip-bytes.ts';

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

/** The bytes behind the JSON, taken from the front. */
export class TensorBytes {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get left(): Bytes {
    return this.#bytes.length - this.#at;
  }

  take(length: Bytes): Uint8Array {
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }
}

/** @throws SkeinError REQUEST_INVALID, TENSOR_INVALID, INPUT_NOT_FINITE, naming the tensor */
export function readTensor(
  input: unknown,
  specs: readonly TensorSpec[],
  bytes: TensorBytes,
): [string, Tensor] {
  if (!isObject(input) || typeof input.name !== 'string') throw invalid('an input has no `name`');
  const { name, shape, datatype, data, parameters } = input;
  const spec = specs.find((candidate) => candidate.name === name);
  if (!spec)
    throw wrong(`the model has no input \`${name}\`; it takes ${specs.map((s) => s.name).join(', ')}`);
  if (!isShape(shape)) throw invalid(`input \`${name}\`: \`shape\` is not a list of sizes`);
  if (datatype !== DATATYPES[spec.type])
    throw wrong(`input \`${name}\` is ${datatype}, the model takes ${DATATYPES[spec.type]}`);
  if (isObject(parameters) && 'shared_memory_region' in parameters)
    throw invalid(`input \`${name}\`: shared memory is not served; send the bytes`);
  const size = isObject(parameters) ? parameters.binary_data_size : undefined;
  const tensor = size === undefined ? fromJson(spec, shape, data) : fromBytes(spec, shape, size, data, bytes);
  return [name, tensor];
}

const isShape = (value: unknown): value is number[] =>
  Array.isArray(value) &&
  value.length <= 8 &&
  value.every((dim) => Number.isInteger(dim) && dim >= 0) &&
  Number.isSafeInteger(elementCount(value));

/** @throws SkeinError REQUEST_INVALID, TENSOR_INVALID */
function fromBytes(
  spec: TensorSpec,
  shape: number[],
  size: unknown,
  data: unknown,
  bytes: TensorBytes,
): Tensor {
  const { name } = spec;
  if (data !== undefined) throw invalid(`input \`${name}\` has \`data\` and \`binary_data_size\``);
  if (typeof size !== 'number' || !Number.isInteger(size) || size < 0)
    throw invalid(`input \`${name}\`: \`binary_data_size\` is not a number of bytes`);
  if (bytes.left < size)
    throw wrong(`input \`${name}\` says ${size} bytes, ${bytes.left} are left in the body`);
  return tensorOfBytes(spec, shape, bytes.take(size));
}

/** Only after the data turned out to be as large as the shape is memory taken for it. */
function fromJson(spec: TensorSpec, shape: number[], data: unknown): Tensor {
  const { name, type } = spec;
  if (type === 'float16')
    throw wrong(`input \`${name}\`: ${DATATYPES[type]} cannot be sent as JSON, only as bytes`);
  if (!Array.isArray(data)) throw invalid(`input \`${name}\`: \`data\` is not an array`);
  const levels = levelsOf(name, data, shape);
  const count = elementCount(shape);
  const values = viewOf(type, new ArrayBuffer(count * elementBytes(type)), 0, count);
  const put = putter(spec, values);
  const walk = (list: readonly unknown[], level: number): void => {
    if (level === levels) for (let i = 0; i < list.length; i++) put(list[i]);
    else for (const inner of list) walk(inner as unknown[], level + 1);
  };
  walk(data, 1);
  return { type, dims: shape, data: values };
}

/** @returns of lists in lists: 1 for flat data. @throws SkeinError TENSOR_INVALID unless they have the shape */
function levelsOf(name: string, data: readonly unknown[], shape: readonly number[]): number {
  const count = elementCount(shape);
  if (!Array.isArray(data[0])) {
    if (data.length === count) return 1;
    throw wrong(`input \`${name}\` has ${data.length} values, shape ${shapeText(shape)} needs ${count}`);
  }
  const found = shapeOf(data);
  if (found.join() !== shape.join())
    throw wrong(`input \`${name}\`: data is ${shapeText(found)}, shape says ${shapeText(shape)}`);
  if (!isRegular(data, shape, 0))
    throw wrong(`input \`${name}\`: its lists are not all as long as shape ${shapeText(shape)} says`);
  return shape.length;
}

const isRegular = (data: unknown, shape: readonly number[], axis: number): boolean =>
  axis === shape.length ||
  (Array.isArray(data) &&
    data.length === shape[axis] &&
    (axis === shape.length - 1 || data.every((inner) => isRegular(inner, shape, axis + 1))));

const INTEGER_BOUNDS: Partial<Record<TensorSpec['type'], readonly [number, number]>> = {
  int8: [-128, 127],
  uint8: [0, 255],
  int32: [-(2 ** 31), 2 ** 31 - 1],
  int64: [-(2 ** 53) + 1, 2 ** 53 - 1],
  bool: [0, 1],
};

/** Typed arrays wrap what does not fit: a wrong number would be inferred on without a word. */
function putter({ name, type }: TensorSpec, values: TensorData): (value: unknown) => void {
  const bounds = INTEGER_BOUNDS[type];
  let at = 0;
  return (value) => {
    const number = numberAt(name, value, at);
    if (bounds && !(Number.isInteger(number) && number >= bounds[0] && number <= bounds[1]))
      throw wrong(`input \`${name}\` holds a value that ${DATATYPES[type]} has not`);
    if (type === 'int64') (values as BigInt64Array)[at++] = BigInt(number);
    else (values as Float32Array)[at++] = number;
  };
}

function numberAt(name: string, value: unknown, index: number): number {
  if (typeof value === 'number' && Number.isFinite(value)) return value;
  if (typeof value === 'boolean') return value ? 1 : 0;
  throw new SkeinError(
    'INPUT_NOT_FINITE',
    `input \`${name}\`[${index}] is ${inWords(value)}, not a finite number`,
    {
      fix: 'Fill what is missing before it is sent; POST /v1/predict/NAME does as the model’s manifest says.',
    },
  );
}

/** What JSON holds besides numbers and booleans. */
function inWords(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value).slice(0, 80);
  if (Array.isArray(value)) return 'a list';
  return value === null ? 'null' : typeof value;
}

function shapeOf(data: unknown): number[] {
  const shape: number[] = [];
  for (let at = data; Array.isArray(at) && shape.length < 9; at = at[0]) shape.push(at.length);
  return shape;
}

/** As JSON a number takes tens of bytes, and all of them are there at once. */
const MAX_WRITTEN = 2 ** 20;

const onlyAsBytes = (name: string, why: string): SkeinError =>
  new SkeinError('TENSOR_INVALID', `output \`${name}\` ${why}`, {
    fix: `Ask for its bytes: "outputs": [{"name": "${name}", "parameters": {"binary_data": true}}].`,
  });

/** NaN and infinities have no JSON; they become null. @throws SkeinError TENSOR_INVALID for FP16 and what is too large */
export function writeTensor(name: string, { type, dims, data }: Tensor) {
  if (type === 'float16') throw onlyAsBytes(name, 'is FP16, which has no JSON');
  if (data.length > MAX_WRITTEN)
    throw onlyAsBytes(name, `has ${data.length} values, of which JSON would take too much memory`);
  const values = Array.from(data as ArrayLike<number | bigint>, (value) =>
    typeof value === 'bigint' ? Number(value) : Number.isFinite(value) ? value : null,
  );
  return { name, datatype: DATATYPES[type], shape: dims, data: values };
}
