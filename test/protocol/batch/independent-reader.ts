/**
 * Reads sealed batches by `protocol/BATCH.md` and nothing else: no import from the code that it checks, a CBOR reader
 * of its own, the words of the dictionary taken from the document itself. Slow and plain on purpose.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { inflateRawSync, zstdDecompressSync } from 'node:zlib';

type List = unknown[];

const DOCUMENT = readFileSync(join(import.meta.dirname, '../../../protocol/BATCH.md'), 'utf8');

function dictionary(): Buffer {
  const [, words] = /### Dictionary[^`]*```\n([^`]*)```/.exec(DOCUMENT)!;
  const each = words!.trim().split(/\s+/);
  return Buffer.concat(each.map((word) => Buffer.concat([Buffer.of(0x60 + word.length), Buffer.from(word)])));
}

class Cbor {
  at = 0;
  readonly bytes: Buffer;
  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }
  item(): unknown {
    const first = this.bytes[this.at++]!;
    const [major, info] = [first >> 5, first & 31];
    if (major === 7) return this.simple(info);
    const n = this.argument(info);
    switch (major) {
      case 0:
        return n;
      case 1:
        return -1 - n;
      case 2:
        return this.take(n);
      case 3:
        return this.take(n).toString('utf8');
      case 4:
        return Array.from({ length: n }, () => this.item());
      default:
        throw new Error(`CBOR major ${major}`);
    }
  }
  take(n: number): Buffer {
    this.at += n;
    return this.bytes.subarray(this.at - n, this.at);
  }
  argument(info: number): number {
    if (info < 24) return info;
    const size = 2 ** (info - 24);
    let n = 0;
    for (let i = 0; i < size; i++) n = n * 256 + this.bytes[this.at++]!;
    return n;
  }
  simple(info: number): unknown {
    if (info === 20 || info === 21) return info === 21;
    if (info === 22) return null;
    const at = this.at;
    this.at += 2 ** (info - 24);
    if (info === 26) return this.bytes.readFloatBE(at);
    if (info === 27) return this.bytes.readDoubleBE(at);
    const half = this.bytes.readUInt16BE(at);
    const [exponent, fraction] = [(half >> 10) & 31, half & 1023];
    const size =
      exponent === 0
        ? fraction * 2 ** -24
        : exponent === 31
          ? fraction === 0
            ? Number.POSITIVE_INFINITY
            : Number.NaN
          : (1 + fraction / 1024) * 2 ** (exponent - 15);
    return half & 0x8000 ? -size : size;
  }
}

const cbor = (bytes: Buffer): unknown => new Cbor(bytes).item();

function varints(bytes: Buffer): number[] {
  const values: number[] = [];
  let value = 0;
  let shift = 0;
  for (const byte of bytes) {
    value += (byte & 127) * 2 ** shift;
    shift += 7;
    if (byte & 128) continue;
    values.push(value);
    value = shift = 0;
  }
  return values;
}

const unzigzag = (u: number): number => (u % 2 ? -(u + 1) / 2 : u / 2);

function summed(differences: number[]): number[] {
  let sum = 0;
  return differences.map((d) => {
    sum += d;
    return sum;
  });
}

function planes(bytes: Buffer, n: number, width: 4 | 8): number[] {
  return Array.from({ length: n }, (_, i) => {
    const one = Buffer.from(Array.from({ length: width }, (_, plane) => bytes[plane * n + i]!));
    return width === 4 ? one.readFloatLE() : one.readDoubleLE();
  });
}

/** Puts a mixed column together from its kinds. */
function mixed(kinds: number[], nodes: List, read: (node: unknown, n: number) => List): List {
  const rest = [...nodes];
  const parts = new Map<number, List>();
  for (const kind of [2, 3, 4, 5]) {
    const n = kinds.filter((k) => k === kind).length;
    if (n > 0) parts.set(kind, [...read(rest.shift(), n)]);
  }
  return kinds.map((kind) =>
    kind === 0 ? null : kind === 1 ? false : kind === 6 ? true : parts.get(kind)!.shift(),
  );
}

function lists(lengths: number[], items: (n: number) => List): List {
  const all = items(lengths.reduce((a, b) => a + b, 0));
  return lengths.map((n) => all.splice(0, n));
}

function column(list: List, n: number): List {
  const [tag, a, b, c] = list as [number, never, never, never];
  switch (tag) {
    case 0:
      return Array(n).fill(a);
    case 1:
      return summed(varints(a).map(unzigzag));
    case 2:
      return varints(a).map(unzigzag);
    case 3:
      return summed(varints(b).map(unzigzag)).map((v) => v / 10 ** a);
    case 4:
    case 5:
      return planes(a, n, tag === 4 ? 4 : 8);
    case 6:
      return varints(b).map((i) => a[i]);
    case 7: {
      const objects: Record<string, unknown>[] = Array.from({ length: n }, () => ({}));
      (a as string[]).forEach((key, k) => {
        const mask = b[k] as Buffer | null;
        const owners = objects.filter((_, i) => mask === null || (mask[i >> 3]! >> (i & 7)) & 1);
        const values = column(c[k], owners.length);
        for (const [i, object] of owners.entries()) object[key] = values[i];
      });
      return objects;
    }
    case 8:
      return lists(column(a, n) as number[], (m) => column(b, m));
    case 9:
      return mixed(varints(a), b, (node, m) => column(node as List, m));
  }
  throw new Error(`column ${tag}`);
}

interface Cell {
  p: number;
  uses: number;
}

const cells = (n: number): Cell[] => Array.from({ length: n }, () => ({ p: 2 ** 21, uses: 0 }));
const bitsOf = (v: number): number => (v === 0 ? 0 : v.toString(2).length);

class Stream {
  readonly coded: Buffer;
  readonly bits: Buffer;
  at = 4;
  bitAt = 0;
  range = 2 ** 31 - 1;
  code: number;
  lengths = Array.from({ length: 96 }, () => cells(64));
  leading = Array.from({ length: 64 }, () => cells(4));
  signs = cells(64);
  flag = cells(4);
  same = cells(1);

  constructor(coded: Buffer, bits: Buffer) {
    this.coded = coded;
    this.bits = bits;
    this.code = [0, 1, 2, 3].reduce((code, i) => (code * 256 + (coded[i] ?? 0)) % 2 ** 31, 0);
  }

  bit(cell: Cell): number {
    const bound = Math.floor(this.range / 2 ** 15) * (Math.floor(cell.p / 2 ** 7) | 1);
    const bit = this.code < bound ? 0 : 1;
    if (bit === 0) this.range = bound;
    else {
      this.code -= bound;
      this.range -= bound;
    }
    const target = bit === 0 ? 2 ** 22 : 0;
    cell.p += Math.floor((Math.floor((target - cell.p) / 16) * Math.floor(8192 / (cell.uses + 1.5))) / 512);
    cell.uses = Math.min(255, cell.uses + 1);
    while (this.range < 2 ** 23) {
      this.range *= 256;
      this.code = (this.code * 256 + (this.coded[this.at++] ?? 0)) % 2 ** 31;
    }
    return bit;
  }

  raw(k: number): number {
    if (k > 16) return this.raw(16) + this.raw(k - 16) * 2 ** 16;
    let value = 0;
    for (let i = 0; i < k; i++, this.bitAt++)
      value += ((this.bits[this.bitAt >> 3]! >> (this.bitAt & 7)) & 1) * 2 ** i;
    return value;
  }

  size(context: number): number {
    let length = 0;
    while (length < 53 && this.bit(this.lengths[context]![length]!) === 1) length++;
    if (length === 0) return 0;
    let [found, rest, node] = [1, length - 1, 1];
    while (rest > 0 && node < 4) {
      rest--;
      const b = this.bit(this.leading[length]![node]!);
      node = 2 * node + b;
      found = 2 * found + b;
    }
    const high = rest > 32 ? this.raw(rest - 32) : 0;
    return found * 2 ** rest + high * 2 ** 32 + this.raw(Math.min(rest, 32));
  }

  integers(n: number): number[] {
    if (n === 0) return [];
    const way = this.raw(2);
    let base = this.size(95);
    if (this.raw(1) === 1) base = -base;
    const values: number[] = way >= 2 ? [base] : [];
    let mean: number | undefined;
    while (values.length < n) {
      const i = values.length;
      const expected =
        way < 2 ? base : way === 3 && i >= 2 ? 2 * values[i - 1]! - values[i - 2]! : values[i - 1]!;
      let d = this.size(contextOf(mean));
      const x = 16 * Math.min(d, 2 ** 40);
      mean = mean === undefined ? x : mean + Math.floor((x - mean) / 4);
      if (d > 0 && way !== 0 && this.bit(this.signs[bitsOf(d)]!) === 1) d = -d;
      values.push(expected + d);
    }
    return values;
  }

  flags(n: number): boolean[] {
    let [a, b] = [0, 0];
    return Array.from({ length: n }, () => {
      [a, b] = [b, this.bit(this.flag[2 * a + b]!)];
      return b === 1;
    });
  }

  singles(n: number): number[] {
    return this.integers(n).map((w) => Buffer.from(hex(word(w)), 'hex').readFloatBE());
  }

  doubles(n: number): number[] {
    let lower = 0;
    return this.integers(n).map((w) => {
      if (this.bit(this.same[0]!) === 0) lower = this.raw(32);
      return Buffer.from(hex(word(w)) + hex(lower), 'hex').readDoubleBE();
    });
  }
}

const hex = (w: number): string => w.toString(16).padStart(8, '0');
const word = (w: number): number => (w >= 2 ** 31 ? w - 2 ** 31 : 2 ** 32 - 1 - w);

function contextOf(mean: number | undefined): number {
  if (mean === undefined) return 0;
  const binary = mean === 0 ? '' : mean.toString(2);
  return 1 + 2 * binary.length + (binary.length > 1 && binary[1] === '1' ? 1 : 0);
}

function node(tree: unknown, n: number, stream: Stream): List {
  if (typeof tree === 'number') {
    if (n === 0) return [];
    if (tree === 2) return stream.singles(n);
    if (tree === 3) return stream.doubles(n);
    if (tree === 4) return stream.flags(n);
    const values = stream.integers(n);
    return tree === 1 ? values : values.map((v) => v / 10 ** (tree - 10));
  }
  const [tag, a, b, c] = tree as [number, never, never, never];
  switch (tag) {
    case 0:
      return Array(n).fill(a);
    case 5:
      return stream.integers(n).map((i) => a[i]);
    case 6: {
      const objects: Record<string, unknown>[] = Array.from({ length: n }, () => ({}));
      (a as string[]).forEach((key, k) => {
        const has = b[k] === 0 ? undefined : stream.flags(n);
        const owners = objects.filter((_, i) => has?.[i] ?? true);
        const values = node(c[k], owners.length, stream);
        for (const [i, object] of owners.entries()) object[key] = values[i];
      });
      return objects;
    }
    case 7: {
      const lengths = node(a, n, stream) as number[];
      return lists(lengths, (m) => node(b, m, stream));
    }
    case 8:
      return mixed(stream.integers(n), a, (below, m) => node(below, m, stream));
  }
  throw new Error(`node ${tag}`);
}

export interface Read {
  /** As the document names them. */
  header: Record<string, unknown>;
  signed: Buffer;
  signature: Buffer;
  records: unknown[];
}

const NAMES = 'fleet device stream epoch ordinal seq n prev observed gaps bridge'.split(' ');

function header(list: List): Record<string, unknown> {
  const value = (v: unknown, i: number): unknown => {
    if (Buffer.isBuffer(v)) return v.toString('hex');
    return NAMES[i] === 'gaps' ? (v as List[]).map(([from, to, reason]) => ({ from, to, reason })) : v;
  };
  return Object.fromEntries(list.map((v, i) => [NAMES[i]!, value(v, i)]));
}

/** A batch of any form. */
export function readIndependently(bytes: Uint8Array): Read {
  const all = Buffer.from(bytes);
  if (all[0] === 0x7b) return readJson(all);
  const end = all.length - 64;
  const parts = { signed: all.subarray(0, end), signature: all.subarray(end) };
  if (all.subarray(0, 4).toString() === 'SKB1') {
    const bodyAt = 10 + all.readUInt16LE(4);
    const own = header(cbor(all.subarray(10, bodyAt)) as List);
    const n = own.n as number;
    return {
      ...parts,
      header: own,
      records: n === 0 ? [] : column(cbor(inflateRawSync(all.subarray(bodyAt, end))) as List, n),
    };
  }
  let at = 5;
  const lengths = Array.from({ length: 4 }, () => {
    const from = at;
    while (all[at++]! & 128);
    return varints(all.subarray(from, at))[0]!;
  });
  const [H, , P, C] = lengths as [number, number, number, number];
  const own = header(cbor(all.subarray(at, at + H)) as List);
  const packed = all.subarray(at + H, at + H + P);
  const codedAt = at + H + P;
  const tree = [
    () => packed,
    () => inflateRawSync(packed, { dictionary: dictionary() }),
    () => zstdDecompressSync(packed),
  ][all[4]!]!;
  const stream = new Stream(all.subarray(codedAt, codedAt + C), all.subarray(codedAt + C, end));
  const n = own.n as number;
  return { ...parts, header: own, records: n === 0 ? [] : node(cbor(tree()), n, stream) };
}

function readJson(all: Buffer): Read {
  const { records, signature, v: _, ...own } = JSON.parse(all.toString());
  const signed = all.subarray(0, all.length - `,"signature":"${signature}"}`.length);
  return { header: own, records, signed, signature: Buffer.from(signature, 'hex') };
}
