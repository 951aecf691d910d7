/**
 * Records as columns: what lies under each other in time is alike, so it is stored side by side.
 *
 * A column of n values is a CBOR array whose first element says how to read the rest:
 *   [0, scalar]                   all n values are this one (null, bool, number or text)
 *   [1, bytes] [2, bytes]         integers: zigzag varints of differences | of the values
 *   [3, k, bytes]                 decimals: integers (as 1) divided by 10^k, 1 ≤ k ≤ 6
 *   [4, bytes] [5, bytes]         float32 | float64 in byte planes; 4 only when lossless
 *   [6, [text…], bytes]           text: a dictionary in order of first use, varint indices
 *   [7, [key…], [mask…], [col…]]  objects: per key a column of the values present; mask null = in all of them,
 *                                 else a bitmap of n bits, low bits first
 *   [8, col, col]                 lists: a column of lengths, a column of all items joined
 *   [9, bytes, [col…]]            mixed kinds: a varint kind per value, then a column per kind, in order of kind
 *
 * What survives: null, booleans, text, every float64 with NaN, infinities and −0, nested lists and objects.
 * Not kept: the order of keys (it becomes that of first use), `undefined` (as in JSON: an absent key), unpaired
 * surrogates (U+FFFD), more than one NaN. Refused: the key `__proto__`, functions, symbols, bigint.
 *
 * Limits, checked before memory is spent: depth 16, 2^21 values in one batch, 2^16 keys in one object.
 */
import { SkeinError } from '../errors.ts';
import { areInts, writeInts, writePlanes, writeVarints } from './varints.ts';

export type Column = readonly [number, ...unknown[]];

export const MAX_DEPTH = 16;
export const MAX_VALUES = 2 ** 21;
export const MAX_KEYS = 2 ** 16;

/** In a mixed column a kind's number is its place here, and `true` has one of its own. */
export const KINDS = ['null', 'boolean', 'number', 'string', 'list', 'object'] as const;
export const TRUE = KINDS.length;
export type Kind = (typeof KINDS)[number];
export type Fields = Record<string, unknown>;

const broken = (what: string): SkeinError => new SkeinError('BATCH_INVALID', `batch column: ${what}`);

export function kindOf(value: unknown): Kind {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'list';
  const type = typeof value;
  if (type === 'boolean' || type === 'number' || type === 'string' || type === 'object') return type;
  throw broken(`a ${type} cannot be recorded`);
}

/** @throws SkeinError BATCH_INVALID for what JSON has no word for, and beyond the depth limit. */
export function encodeColumn(values: readonly unknown[], depth = 0): Column {
  if (depth > MAX_DEPTH) throw broken(`nested deeper than ${MAX_DEPTH}`);
  const kinds = values.map(kindOf);
  const first = kinds[0] ?? 'null';
  if (!kinds.every((kind) => kind === first)) return encodeMixed(values, kinds, depth);
  switch (first) {
    case 'null':
      return [0, null];
    case 'boolean':
      return sameScalar(values) ? [0, values[0]] : encodeMixed(values, kinds, depth);
    case 'number':
      return encodeNumbers(values as number[]);
    case 'string':
      return encodeText(values as string[]);
    case 'list':
      return encodeLists(values as unknown[][], depth);
    case 'object':
      return encodeObjects(values as Fields[], depth);
  }
}

export const sameScalar = (values: readonly unknown[]): boolean =>
  values.every((v) => Object.is(v, values[0]));

/** CBOR's shortest forms would turn −0 into 0 and lift integers beyond 2^53 to bigint: those go as planes. */
export const plain = (v: number): boolean =>
  !Object.is(v, -0) && (Number.isSafeInteger(v) || !Number.isInteger(v));

function encodeNumbers(values: number[]): Column {
  if (sameScalar(values) && plain(values[0]!)) return [0, values[0]];
  if (areInts(values)) return shorter([1, writeInts(values, true)], [2, writeInts(values, false)]);
  for (let k = 1; k <= 6; k++) {
    const scaled = values.map((v) => Math.round(v * 10 ** k));
    if (areInts(scaled) && scaled.every((s, i) => Object.is(s / 10 ** k, values[i]))) {
      return [3, k, writeInts(scaled, true)];
    }
  }
  const single = values.every((v) => Object.is(Math.fround(v), v));
  return single ? [4, writePlanes(values, 4)] : [5, writePlanes(values, 8)];
}

const shorter = (a: [number, Uint8Array], b: [number, Uint8Array]): Column =>
  b[1].length < a[1].length ? b : a;

function encodeText(values: string[]): Column {
  const wellFormed = values.map((text) => text.toWellFormed());
  if (sameScalar(wellFormed)) return [0, wellFormed[0]];
  const dictionary = [...new Set(wellFormed)];
  const index = new Map(dictionary.map((text, i) => [text, i]));
  return [6, dictionary, writeVarints(wellFormed.map((text) => index.get(text)!))];
}

function encodeLists(values: unknown[][], depth: number): Column {
  return [8, encodeColumn(values.map((list) => list.length)), encodeColumn(values.flat(), depth + 1)];
}

/** In order of first use. @throws SkeinError BATCH_INVALID for keys that no reader takes */
export function keysOf(values: readonly Fields[]): string[] {
  const keys = [...new Set(values.flatMap((value) => Object.keys(value)))].filter((key) =>
    values.some((value) => has(value, key)),
  );
  if (keys.includes('__proto__') || keys.length > MAX_KEYS) throw broken('unusable keys');
  if (keys.some((key) => !key.isWellFormed())) throw broken('a key that is not well-formed text');
  return keys;
}

function encodeObjects(values: Fields[], depth: number): Column {
  const keys = keysOf(values);
  const masks = keys.map((key) => mask(values.map((value) => has(value, key))));
  const columns = keys.map((key) => {
    const present = values.filter((value) => has(value, key)).map((value) => value[key]);
    return encodeColumn(present, depth + 1);
  });
  return [7, keys, masks, columns];
}

export const has = (value: Fields, key: string): boolean =>
  Object.hasOwn(value, key) && value[key] !== undefined;

function mask(present: boolean[]): Uint8Array | null {
  if (present.every(Boolean)) return null;
  const bits = new Uint8Array(Math.ceil(present.length / 8));
  present.forEach((is, i) => {
    if (is) bits[i >> 3]! |= 1 << (i & 7);
  });
  return bits;
}

/** Of a column of mixed kinds: a number per value, and the values of each kind that has any, in order of kind. */
export function sortKinds(values: readonly unknown[], kinds: readonly Kind[]) {
  const tags = values.map((value, i) => (value === true ? TRUE : KINDS.indexOf(kinds[i]!)));
  const parts = (['number', 'string', 'list', 'object'] as const)
    .map((kind) => values.filter((_, i) => kinds[i] === kind))
    .filter((part) => part.length > 0);
  return { tags, parts };
}

/** Booleans that differ come here too: the kind alone gives the value. */
function encodeMixed(values: readonly unknown[], kinds: Kind[], depth: number): Column {
  const { tags, parts } = sortKinds(values, kinds);
  return [9, writeVarints(tags), parts.map((part) => encodeColumn(part, depth + 1))];
}
