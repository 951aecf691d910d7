/**
 * Where an ONNX file keeps the numbers of its tensors. Only the patch's maker looks; what can not be read is no ONNX
 * and is matched as plain bytes. Pure.
 *
 * Protobuf fields: ModelProto 7 graph; GraphProto 1 node, 5 initializer; NodeProto 2 output, 5 attribute;
 * AttributeProto 5 t, 6 g, 10 tensors, 11 graphs; TensorProto 1 dims, 2 data_type, 4 float_data, 8 name, 9 raw_data.
 */
import type { Bytes } from '../units.ts';
import { BYTES, KIND, type Kind } from './elements.ts';

export interface Tensor {
  name: string;
  kind: Kind;
  dims: number[];
  offset: Bytes;
  length: Bytes;
}

/** TensorProto.DataType; 9 is bool. */
const KIND_OF: Record<number, Kind> = {
  ...{ 1: KIND.f32, 2: KIND.u8, 3: KIND.i8, 4: KIND.u16, 5: KIND.i16, 6: KIND.i32, 9: KIND.u8 },
  ...{ 10: KIND.f16, 16: KIND.bf16 },
};
const MAX_DEPTH = 24;
const MAX_TENSORS = 100_000;

type Message = 'model' | 'graph' | 'node' | 'attribute';
const INSIDE: Record<Message, Record<number, Message | 'tensor'>> = {
  model: { 7: 'graph' },
  graph: { 1: 'node', 5: 'tensor' },
  node: { 5: 'attribute' },
  attribute: { 5: 'tensor', 6: 'graph', 10: 'tensor', 11: 'graph' },
};

class Walk {
  readonly tensors: Tensor[] = [];
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** @param path of the names around, so that nameless tensors of nodes are told apart */
  message(kind: Message, end: number, path: string, depth: number): void {
    if (depth > MAX_DEPTH) throw new RangeError('too deep');
    const inside = INSIDE[kind];
    let nodes = 0;
    while (this.#at < end) {
      const { field, type, to } = this.#field(end);
      const inner = type === 2 ? inside[field] : undefined;
      if (inner === 'tensor') this.#tensor(to, path);
      else if (inner) this.message(inner, to, inner === 'node' ? `${path}/${nodes++}` : path, depth + 1);
      this.#at = to;
    }
  }

  #tensor(end: number, path: string): void {
    const tensor: Tensor = { name: '', kind: KIND.u8, dims: [], offset: 0, length: 0 };
    let dataType = 0;
    while (this.#at < end) {
      const { field, type, to, value } = this.#field(end);
      if (field === 1 && type === 0) tensor.dims.push(value);
      else if (field === 1) while (this.#at < to) tensor.dims.push(this.#varint(to));
      else if (field === 2 && type === 0) dataType = value;
      else if (field === 8)
        tensor.name = String.fromCharCode(...this.#bytes.subarray(this.#at, Math.min(to, this.#at + 1024)));
      else if ((field === 9 || field === 4) && type === 2 && to - this.#at > tensor.length) {
        tensor.offset = this.#at;
        tensor.length = to - this.#at;
      }
      this.#at = to;
    }
    const kind = KIND_OF[dataType];
    if (kind === undefined || tensor.length === 0 || tensor.length % BYTES[kind]! !== 0) return;
    if (this.tensors.length === MAX_TENSORS) throw new RangeError('too many tensors');
    this.tensors.push({ ...tensor, name: tensor.name || path, kind });
  }

  /** The next field: where its content begins is {@link #at}, `to` is where it ends. */
  #field(end: number): { field: number; type: number; to: number; value: number } {
    const tag = this.#varint(end);
    const type = tag & 7;
    const value = type === 0 || type === 2 ? this.#varint(end) : 0;
    const length = type === 2 ? value : type === 1 ? 8 : type === 5 ? 4 : 0;
    if ((type !== 0 && type !== 1 && type !== 2 && type !== 5) || tag < 8)
      throw new RangeError('no protobuf');
    const to = this.#at + length;
    if (to > end) throw new RangeError('a length leads too far');
    return { field: tag >>> 3, type, to, value };
  }

  #varint(end: number): number {
    let value = 0;
    let unit = 1;
    for (let i = 0; i < 10 && this.#at < end; i++) {
      const byte = this.#bytes[this.#at++]!;
      value += (byte & 127) * unit;
      if (byte < 128) return value;
      unit *= 128;
    }
    throw new RangeError('a number does not end');
  }
}

/** In order of their place in the file; none when it is no ONNX. */
export function tensorsOf(bytes: Uint8Array): Tensor[] {
  const walk = new Walk(bytes);
  try {
    walk.message('model', bytes.length, '', 0);
  } catch (error) {
    if (error instanceof RangeError) return [];
    throw error;
  }
  return walk.tensors;
}
