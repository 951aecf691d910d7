/**
 * A first look at an ONNX file before anything is built from it: every length must fit, subgraphs may nest only so
 * deep, and what would become many small objects is counted. A file of two-byte nodes would otherwise grow
 * a hundredfold in memory. Raw weights cost nothing here. Pure.
 *
 * Wire form (protobuf): tag = field << 3 | type; type 0 varint, 1 eight bytes, 2 length and bytes, 5 four bytes.
 */

/** Messages and scalars of the parts that are decoded. */
const MAX_FIELDS = 2_000_000;
/** Bytes of packed 64-bit integers, of which each may become an object. */
const MAX_INTEGER_BYTES = 32 * 1024 * 1024;
/** If in Loop in If …; onnxruntime's own models nest three deep. */
const MAX_GRAPHS_DEEP = 16;

const INSIDE = {
  model: { 7: 'graph' },
  graph: { 1: 'node', 5: 'tensor', 11: 'value', 12: 'value', 13: 'value', 15: 'sparse' },
  node: { 5: 'attribute' },
  attribute: {
    5: 'tensor',
    6: 'graph',
    8: 'integers',
    10: 'tensor',
    11: 'graph',
    22: 'sparse',
    23: 'sparse',
  },
  tensor: { 1: 'integers', 5: 'integers', 7: 'integers', 11: 'integers' },
  value: { 2: 'type' },
  type: { 1: 'tensorType' },
  tensorType: { 2: 'shape' },
  shape: { 1: 'dimension' },
  dimension: {},
  sparse: { 1: 'tensor', 2: 'tensor', 3: 'integers' },
} as const satisfies Record<string, Record<number, string>>;
type Kind = keyof typeof INSIDE;

class Scan {
  readonly #bytes: Uint8Array;
  #fields = 0;
  #integerBytes = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  message(kind: Kind, from: number, to: number, graphs: number): void {
    if (graphs > MAX_GRAPHS_DEEP) throw new RangeError(`subgraphs nest more than ${MAX_GRAPHS_DEEP} deep`);
    for (let at = from; at < to; ) {
      if (++this.#fields > MAX_FIELDS) throw new RangeError(`more than ${MAX_FIELDS} fields`);
      const [tag, after] = this.#varint(at, to);
      at = this.#field(kind, tag, after, to, graphs);
    }
  }

  /** @returns where the next field begins */
  #field(kind: Kind, tag: number, at: number, to: number, graphs: number): number {
    const type = tag & 7;
    if (type === 0) return this.#varint(at, to)[1];
    if (type === 1 || type === 5) return this.#within(at + (type === 1 ? 8 : 4), to);
    if (type !== 2) throw new RangeError(`wire type ${type}`);
    const [length, start] = this.#varint(at, to);
    const end = this.#within(start + length, to);
    const inner = (INSIDE[kind] as Record<number, Kind | 'integers'>)[tag >>> 3];
    if (inner === 'integers') this.#countIntegers(length);
    else if (inner) this.message(inner, start, end, inner === 'graph' ? graphs + 1 : graphs);
    return end;
  }

  #countIntegers(bytes: number): void {
    this.#integerBytes += bytes;
    if (this.#integerBytes > MAX_INTEGER_BYTES) {
      throw new RangeError(`more than ${MAX_INTEGER_BYTES} bytes of packed integers`);
    }
  }

  #within(at: number, to: number): number {
    if (at > to) throw new RangeError('a length leads beyond its message');
    return at;
  }

  /** Exact to 2^53; what is longer is no length of ours. */
  #varint(at: number, to: number): [value: number, next: number] {
    let value = 0;
    let unit = 1;
    for (let i = at; i < Math.min(to, at + 10); i++) {
      const byte = this.#bytes[i]!;
      value += (byte & 127) * unit;
      if (byte < 128) return [value, i + 1];
      unit *= 128;
    }
    throw new RangeError('a number does not end');
  }
}

/** @throws RangeError saying what is wrong with the bytes */
export const scanModel = (bytes: Uint8Array): void => new Scan(bytes).message('model', 0, bytes.length, 0);
