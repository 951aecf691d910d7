/**
 * Records as columns, second form: a tree says what the columns are, their numbers lie together in a stream of their
 * own (`numbers.ts`), in the order in which the tree is read: depth first, a column's own numbers before those inside.
 *
 * A node for n values, `…` standing for numbers in the stream:
 *   [0, scalar]                    all n are this one (null, bool, number or text)
 *   1 …                            integers
 *   2 …   3 …                      float32 | float64; 2 only when lossless
 *   4 …                            booleans, n flags
 *   [5, [text…]] …                 text: a dictionary in order of first use; n integers, the indices
 *   [6, [key…], [mask…], [node…]]  objects: per key a node for the values present; mask 0 = in all, 1 … = n flags
 *   [7, node, node]                lists: a node for the lengths, a node for all items joined
 *   [8, [node…]] …                 mixed kinds: n integers, the kinds, then a node per kind in order of kind
 *   11 … 19 …                      decimals: integers divided by 10^(node − 10)
 *
 * What survives, what is refused and the limits are those of `columns.ts`.
 */
import { SkeinError } from '../errors.ts';
import {
  type Fields,
  has,
  type Kind,
  keysOf,
  kindOf,
  MAX_DEPTH,
  plain,
  sameScalar,
  sortKinds,
} from './columns.ts';
import { isInt, type Numbers } from './numbers.ts';
import {
  asArray,
  type Budget,
  cutLists,
  joinKinds,
  joinObjects,
  scalar,
  spend,
  textsAt,
} from './read-columns.ts';

export type Node = number | readonly [number, ...unknown[]];

const INTS = 1;
const SINGLES = 2;
const DOUBLES = 3;
const FLAGS = 4;
const TEXT = 5;
const OBJECTS = 6;
const LISTS = 7;
const MIXED = 8;
/** Added to the number of decimal places. */
const DECIMALS = 10;
const MAX_PLACES = 9;

const broken = (what: string): SkeinError => new SkeinError('BATCH_INVALID', `batch tree: ${what}`);

/** @throws SkeinError BATCH_INVALID for what JSON has no word for, and beyond the depth limit. */
export function writeTree(values: readonly unknown[], numbers: Numbers, depth = 0): Node {
  if (depth > MAX_DEPTH) throw broken(`nested deeper than ${MAX_DEPTH}`);
  const kinds = values.map(kindOf);
  const first = kinds[0] ?? 'null';
  if (!kinds.every((kind) => kind === first)) return writeMixed(values, kinds, numbers, depth);
  switch (first) {
    case 'null':
      return [0, null];
    case 'boolean':
      return writeFlags(values as boolean[], numbers);
    case 'number':
      return writeNumbers(values as number[], numbers);
    case 'string':
      return writeText(values as string[], numbers);
    case 'list':
      return [
        LISTS,
        writeTree(
          values.map((list) => (list as unknown[]).length),
          numbers,
          depth + 1,
        ),
        writeTree((values as unknown[][]).flat(), numbers, depth + 1),
      ];
    case 'object':
      return writeObjects(values as Fields[], numbers, depth);
  }
}

function writeFlags(values: readonly boolean[], numbers: Numbers): Node {
  if (sameScalar(values)) return [0, values[0]];
  numbers.flags(values, values.length);
  return FLAGS;
}

function writeNumbers(values: readonly number[], numbers: Numbers): Node {
  const count = values.length;
  if (sameScalar(values) && plain(values[0]!)) return [0, values[0]];
  for (let places = 0; places <= MAX_PLACES; places++) {
    const scaled = scale(values, places);
    if (scaled === undefined) continue;
    numbers.ints(scaled, count);
    return places === 0 ? INTS : DECIMALS + places;
  }
  const single = values.every((v) => Object.is(Math.fround(v), v));
  if (single) numbers.singles(values, count);
  else numbers.doubles(values, count);
  return single ? SINGLES : DOUBLES;
}

/** The integers that give `values` back exactly; undefined when there are none. */
function scale(values: readonly number[], places: number): number[] | undefined {
  const unit = 10 ** places;
  const scaled: number[] = [];
  for (const value of values) {
    const whole = Math.round(value * unit);
    if (!isInt(whole) || !Object.is(whole / unit, value)) return undefined;
    scaled.push(whole);
  }
  return scaled;
}

function writeText(values: readonly string[], numbers: Numbers): Node {
  const wellFormed = values.map((text) => text.toWellFormed());
  if (sameScalar(wellFormed)) return [0, wellFormed[0]];
  const dictionary = [...new Set(wellFormed)];
  const index = new Map(dictionary.map((text, i) => [text, i]));
  numbers.ints(
    wellFormed.map((text) => index.get(text)!),
    values.length,
  );
  return [TEXT, dictionary];
}

function writeObjects(values: readonly Fields[], numbers: Numbers, depth: number): Node {
  const keys = keysOf(values);
  const masks: number[] = [];
  const nodes = keys.map((key) => {
    const present = values.map((value) => has(value, key));
    const owners = values.filter((_, i) => present[i]);
    masks.push(owners.length === values.length ? 0 : 1);
    if (owners.length < values.length) numbers.flags(present, values.length);
    return writeTree(
      owners.map((value) => value[key]),
      numbers,
      depth + 1,
    );
  });
  return [OBJECTS, keys, masks, nodes];
}

function writeMixed(
  values: readonly unknown[],
  kinds: readonly Kind[],
  numbers: Numbers,
  depth: number,
): Node {
  const { tags, parts } = sortKinds(values, kinds);
  numbers.ints(tags, tags.length);
  return [MIXED, parts.map((part) => writeTree(part, numbers, depth + 1))];
}

/** Reads `count` values back. @throws SkeinError BATCH_INVALID for every other shape. */
export function readTree(
  node: unknown,
  count: number,
  numbers: Numbers,
  budget: Budget,
  depth = 0,
): unknown[] {
  spend(budget, count + 1, depth);
  if (typeof node === 'number') return readLeaf(node, count, numbers);
  const [tag, a, b, c] = asArray(node);
  const inside = (below: unknown, n: number) => readTree(below, n, numbers, budget, depth + 1);
  switch (tag) {
    case 0:
      return new Array(count).fill(scalar(a));
    case TEXT:
      return textsAt(asArray(a), numbers.ints([], count));
    case OBJECTS: {
      const masks = asArray(b);
      return joinObjects(
        asArray(a),
        asArray(c),
        { count, budget, depth },
        {
          owners: (objects, k) => ownersOf(objects, masks[k], numbers),
          values: inside,
          masks: masks.length,
        },
      );
    }
    case LISTS:
      return cutLists(inside(a, count), budget, (total) => inside(b, total));
    case MIXED:
      return joinKinds(numbers.ints([], count), asArray(a), inside);
    default:
      throw unknown();
  }
}

const unknown = (): SkeinError => broken('a node this version does not know');

function readLeaf(node: number, count: number, numbers: Numbers): unknown[] {
  switch (node) {
    case INTS:
      return numbers.ints([], count);
    case SINGLES:
      return numbers.singles([], count);
    case DOUBLES:
      return numbers.doubles([], count);
    case FLAGS:
      return numbers.flags([], count);
  }
  const places = node - DECIMALS;
  if (!Number.isInteger(places) || places < 1 || places > MAX_PLACES) throw unknown();
  const unit = 10 ** places;
  return numbers.ints([], count).map((whole) => whole / unit);
}

function ownersOf(objects: Fields[], mask: unknown, numbers: Numbers): Fields[] {
  if (mask === 0) return objects;
  if (mask !== 1) throw broken('a mask that is none');
  const present = numbers.flags([], objects.length);
  return objects.filter((_, i) => present[i]);
}
