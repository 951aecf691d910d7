/** Reads the columns of `columns.ts` back; every claim is checked before memory is spent on it. */
import { SkeinError } from '../errors.ts';
import { MAX_DEPTH, MAX_KEYS, MAX_VALUES, TRUE } from './columns.ts';
import { readInts, readPlanes, readVarints } from './varints.ts';

export type Fields = Record<string, unknown>;

const broken = (what: string): SkeinError => new SkeinError('BATCH_INVALID', `batch column: ${what}`);

/** Counts what decoding may still produce, so that a few bytes cannot claim millions of values. */
export interface Budget {
  left: number;
}

/** Reads `count` values back. @throws SkeinError BATCH_INVALID for every other shape. */
export function decodeColumn(column: unknown, count: number): unknown[] {
  return decode(column, count, { left: MAX_VALUES }, 0);
}

function decode(column: unknown, count: number, budget: Budget, depth: number): unknown[] {
  if (!Array.isArray(column)) throw broken('not a column');
  spend(budget, count + 1, depth);
  const [tag, a, b, c] = column;
  switch (tag) {
    case 0:
      return new Array(count).fill(scalar(a));
    case 1:
    case 2:
      return readInts(asBytes(a), count, tag === 1);
    case 3:
      return decodeDecimals(a, asBytes(b), count);
    case 4:
    case 5:
      return readPlanes(asBytes(a), count, tag === 4 ? 4 : 8);
    case 6:
      return decodeText(asArray(a), asBytes(b), count);
    case 7:
      return decodeObjects(asArray(a), asArray(b), asArray(c), { count, budget, depth });
    case 8:
      return decodeLists(a, b, { count, budget, depth });
    case 9:
      return decodeMixed(asBytes(a), asArray(b), { count, budget, depth });
    default:
      throw broken('an encoding this version does not know');
  }
}

/** Before anything is made. */
export function spend(budget: Budget, values: number, depth: number): void {
  budget.left -= values;
  if (budget.left < 0) throw broken(`more than ${MAX_VALUES} values`);
  if (depth > MAX_DEPTH) throw broken(`nested deeper than ${MAX_DEPTH}`);
}

export interface At {
  count: number;
  budget: Budget;
  depth: number;
}

export function scalar(value: unknown): unknown {
  if (value === null || ['boolean', 'number', 'string'].includes(typeof value)) return value;
  throw broken('a repeated value that is not a scalar');
}

function asBytes(value: unknown): Uint8Array {
  if (value instanceof Uint8Array) return value;
  throw broken('bytes expected');
}

export function asArray(value: unknown): unknown[] {
  if (Array.isArray(value)) return value;
  throw broken('a list expected');
}

function decodeDecimals(k: unknown, bytes: Uint8Array, count: number): number[] {
  if (!Number.isInteger(k) || (k as number) < 1 || (k as number) > 6) throw broken('decimal places');
  return readInts(bytes, count, true).map((v) => v / 10 ** (k as number));
}

const decodeText = (dictionary: unknown[], bytes: Uint8Array, count: number): unknown[] =>
  textsAt(dictionary, readVarints(bytes, count));

export const textsAt = (dictionary: readonly unknown[], indices: readonly number[]): string[] =>
  indices.map((index) => {
    const text = dictionary[index];
    if (typeof text !== 'string') throw broken('not in its dictionary');
    return text;
  });

const decodeObjects = (keys: unknown[], masks: unknown[], columns: unknown[], at: At): unknown[] =>
  joinObjects(keys, columns, at, {
    owners: (objects, k) => (masks[k] === null ? objects : masked(objects, asBytes(masks[k]))),
    values: (column, count) => decode(column, count, at.budget, at.depth + 1),
    masks: masks.length,
  });

/** How one form of columns reads what lies inside a column. */
export interface Inside {
  /** Of `objects` those that have the key at `k`. */
  owners(objects: Fields[], k: number): Fields[];
  values(column: unknown, count: number): unknown[];
  masks: number;
}

export function joinObjects(keys: unknown[], columns: unknown[], at: At, inside: Inside): Fields[] {
  if (keys.length !== inside.masks || keys.length !== columns.length || keys.length > MAX_KEYS) {
    throw broken('keys, masks and columns differ in number');
  }
  const objects: Fields[] = Array.from({ length: at.count }, () => ({}));
  keys.forEach((key, k) => {
    if (typeof key !== 'string' || key === '__proto__') throw broken('unusable key');
    spend(at.budget, at.count >> 3, at.depth);
    const owners = inside.owners(objects, k);
    const values = inside.values(columns[k], owners.length);
    owners.forEach((object, i) => {
      if (Object.hasOwn(object, key)) throw broken('a key twice');
      object[key] = values[i];
    });
  });
  return objects;
}

function masked(objects: Fields[], bits: Uint8Array): Fields[] {
  if (bits.length !== Math.ceil(objects.length / 8)) throw broken('mask of another length');
  return objects.filter((_, i) => bits[i >> 3]! & (1 << (i & 7)));
}

const decodeLists = (lengths: unknown, items: unknown, at: At): unknown[] =>
  cutLists(decode(lengths, at.count, at.budget, at.depth + 1), at.budget, (total) =>
    decode(items, total, at.budget, at.depth + 1),
  );

export function cutLists(
  sizes: readonly unknown[],
  budget: Budget,
  itemsOf: (total: number) => unknown[],
): unknown[][] {
  let total = 0;
  for (const size of sizes) {
    if (!Number.isInteger(size) || (size as number) < 0) throw broken('a length that is none');
    total += size as number;
  }
  if (total > budget.left) throw broken(`more than ${MAX_VALUES} values`);
  const flat = itemsOf(total);
  let from = 0;
  return sizes.map((size) => {
    const list = flat.slice(from, from + (size as number));
    from += size as number;
    return list;
  });
}

const decodeMixed = (bytes: Uint8Array, columns: unknown[], at: At): unknown[] =>
  joinKinds(readVarints(bytes, at.count), columns, (column, count) =>
    decode(column, count, at.budget, at.depth + 1),
  );

export function joinKinds(
  tags: readonly number[],
  columns: readonly unknown[],
  valuesOf: Inside['values'],
): unknown[] {
  const queue = [...columns];
  const parts = new Map<number, unknown[]>();
  for (const kind of [2, 3, 4, 5]) {
    const size = tags.filter((tag) => tag === kind).length;
    if (size > 0) parts.set(kind, valuesOf(queue.shift(), size).reverse());
  }
  if (queue.length > 0) throw broken('a column too many');
  return tags.map((tag) => {
    if (tag === 0) return null;
    if (tag === 1 || tag === TRUE) return tag === TRUE;
    const part = parts.get(tag);
    if (part === undefined) throw broken('unknown kind');
    return part.pop();
  });
}
