/**
 * `InferTensorContents`: values in a list by type. Read straight into the tensor's own array, never into a JavaScript list
 * first, and not beyond what the shape needs: a value is at least a byte on the wire, so no shape makes us allocate
 * more than eight times what was sent.
 */
import { SkeinError } from '@skein/protocol/errors.ts';
import type { TensorSpec } from '@skein/protocol/manifest.ts';
import protobuf from 'protobufjs/light.js';
import type { Tensor, TensorData } from '../inference/backend.ts';
import { elementBytes, elementCount, viewOf } from '../inference/tensors.ts';
import { DATATYPES, shapeText } from './oip-bytes.ts';

/** By field number. */
const FIELDS = [
  '',
  'bool_contents',
  'int_contents',
  'int64_contents',
  'uint_contents',
  'uint64_contents',
  'fp32_contents',
  'fp64_contents',
  'bytes_contents',
];
const LENGTH_DELIMITED = 2;

interface Typed {
  field: number;
  /** Of a single value. */
  wire: 0 | 1 | 5;
  read(reader: protobuf.Reader): number | bigint;
  range?: readonly [number, number];
}

const int = (field: number, range?: readonly [number, number]): Typed => ({
  field,
  wire: 0,
  read: (reader) => (field === 4 ? reader.uint32() : reader.int32()),
  ...(range ? { range } : {}),
});

/** float16 has none: it is sent as raw bytes. */
const TYPED: Partial<Record<TensorSpec['type'], Typed>> = {
  bool: { field: 1, wire: 0, read: (reader) => (reader.bool() ? 1 : 0) },
  int8: int(2, [-128, 127]),
  int32: int(2),
  int64: { field: 3, wire: 0, read: (reader) => BigInt(String(reader.int64())) },
  uint8: int(4, [0, 255]),
  float32: { field: 6, wire: 5, read: (reader) => reader.float() },
  float64: { field: 7, wire: 1, read: (reader) => reader.double() },
};

const wrong = (name: string, what: string): SkeinError =>
  new SkeinError('TENSOR_INVALID', `input \`${name}\` ${what}`, {
    fix: 'Send the tensor in raw_input_contents, or in the `contents` of its type.',
    data: { name },
  });

/** @param dims not negative. @throws SkeinError TENSOR_INVALID naming tensor, expected and found; RangeError for torn bytes */
export function tensorOfContents(
  { name, type }: TensorSpec,
  dims: readonly number[],
  bytes: Uint8Array,
): Tensor {
  const typed = TYPED[type];
  if (!typed) throw wrong(name, `is ${DATATYPES[type]}, which has no typed contents`);
  const count = elementCount(dims);
  const needs = `shape ${shapeText(dims)} needs ${count}`;
  if (count > bytes.byteLength) throw wrong(name, `has at most ${bytes.byteLength} values, ${needs}`);
  const data = viewOf(type, new ArrayBuffer(count * elementBytes(type)), 0, count);
  const found = fill(name, data, typed, bytes);
  if (found !== count) throw wrong(name, `has ${found} values in ${FIELDS[typed.field]}, ${needs}`);
  return { type, dims, data };
}

/** @returns how many values there are; those beyond `data` are counted only */
function fill(name: string, data: TensorData, typed: Typed, bytes: Uint8Array): number {
  const reader = protobuf.Reader.create(bytes);
  let at = 0;
  const take = (): void => {
    const value = typed.read(reader);
    if (typed.range && (value < typed.range[0] || value > typed.range[1]))
      throw wrong(name, `[${at}] is ${value}, which is not ${typed.range[0]} to ${typed.range[1]}`);
    if (at < data.length) (data as Float32Array)[at] = value as number;
    at++;
  };
  while (reader.pos < reader.len) {
    const tag = reader.uint32();
    const [field, wire] = [tag >>> 3, tag & 7];
    if (field !== typed.field) {
      const other = FIELDS[field];
      if (other) throw wrong(name, `has its values in ${other}, its type takes ${FIELDS[typed.field]}`);
      reader.skipType(wire);
    } else if (wire === LENGTH_DELIMITED) {
      const end = reader.uint32() + reader.pos;
      if (end > reader.len) throw new RangeError('a list is longer than its message');
      while (reader.pos < end) take();
    } else if (wire === typed.wire) take();
    else throw new RangeError(`wire type ${wire} of field ${field}`);
  }
  return at;
}
