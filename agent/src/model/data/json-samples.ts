/**
 * JSON as samples. A line of .jsonl is one sample: an object of numbers (features by name; a text `label` or `truth`
 * is the known class), an object with arrays in it (tensors by input name), or an array, nested as its tensor is.
 * Pure. Limits: 64 Mi characters a line, 64 Mi values a sample, 8 axes.
 */
import { type Content, type Entry, MAX_SAMPLE_VALUES, refuse, type Values } from './samples.ts';

export const MAX_JSON_CHARACTERS = 1 << 26;
const MAX_RANK = 8;
const TRUTH_KEYS = ['label', 'truth'];

const scalar = (value: unknown): number | undefined =>
  typeof value === 'number'
    ? value
    : value === null
      ? Number.NaN
      : typeof value === 'boolean'
        ? +value
        : undefined;

/** A nested array as one tensor; every part of one level has the same length. */
function nested(where: string, value: unknown[]): Values {
  const shape: number[] = [];
  for (let part: unknown = value; Array.isArray(part); part = part[0]) {
    if (shape.length === MAX_RANK) throw refuse(where, `an array nested more than ${MAX_RANK} deep`);
    shape.push(part.length);
  }
  const numbers: number[] = [];
  const walk = (part: unknown, axis: number): void => {
    if (axis === shape.length) {
      const number = scalar(part);
      if (number === undefined)
        throw refuse(where, `${JSON.stringify(part)?.slice(0, 40)} where a number is expected`);
      numbers.push(number);
      if (numbers.length > MAX_SAMPLE_VALUES) throw refuse(where, `more than ${MAX_SAMPLE_VALUES} values`);
    } else {
      const length = Array.isArray(part) ? part.length : undefined;
      if (length !== shape[axis])
        throw refuse(where, `an array of ${length ?? 'no'} values among arrays of ${shape[axis]}`);
      for (const inner of part as unknown[]) walk(inner, axis + 1);
    }
  };
  walk(value, 0);
  return { shape, values: Float64Array.from(numbers) };
}

function named(where: string, entries: [string, unknown][]): Content {
  const arrays = entries.map(([key, value]): [string, Values] => {
    if (Array.isArray(value)) return [key, nested(where, value)];
    const number = scalar(value);
    if (number === undefined) throw refuse(where, `\`${key}\` is neither a number nor an array of numbers`);
    return [key, { shape: [], values: Float64Array.of(number) }];
  });
  return { kind: 'named', arrays: Object.fromEntries(arrays) };
}

/** Values by name: in the order of `columns`, NaN where one is missing. @throws SkeinError SOURCE_INVALID */
function flat(where: string, entries: [string, unknown][], columns: readonly string[]): Content {
  const values = new Float64Array(columns.length).fill(Number.NaN);
  for (const [key, value] of entries) {
    const at = columns.indexOf(key);
    const number = scalar(value);
    if (number === undefined)
      throw refuse(where, `\`${key}\` holds ${JSON.stringify(value)?.slice(0, 40)}, a number is expected`);
    if (at < 0)
      throw refuse(
        where,
        `\`${key}\` is not in the first sample, which names ${columns.join(', ').slice(0, 200)}`,
      );
    values[at] = number;
  }
  return { kind: 'values', shape: [values.length], values };
}

const isTruth = (key: string, value: unknown): boolean =>
  TRUTH_KEYS.includes(key) && (typeof value === 'string' || typeof value === 'number');

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Names of a sample's values when it is a flat object. */
export function columnsOf(value: unknown): string[] | undefined {
  if (!isObject(value) || Object.values(value).some(Array.isArray)) return undefined;
  return Object.keys(value).filter((key) => !isTruth(key, value[key]));
}

/** @param columns of the first sample. */
export function jsonSample(where: string, value: unknown, columns: readonly string[] | undefined): Entry {
  try {
    if (Array.isArray(value))
      return { where, truth: undefined, content: { kind: 'values', ...nested(where, value) } };
    if (!isObject(value)) throw refuse(where, 'an object or an array of numbers is expected');
    const entries = Object.entries(value);
    const features = entries.filter(([key, inner]) => !isTruth(key, inner));
    if (features.length === 0) throw refuse(where, 'it names no values');
    const truth = entries.find(([key, inner]) => isTruth(key, inner))?.[1];
    const isFlat = columns && !features.some(([, inner]) => Array.isArray(inner));
    const content = isFlat ? flat(where, features, columns) : named(where, features);
    return { where, truth: truth === undefined ? undefined : String(truth), content };
  } catch (thrown) {
    return { where, problem: thrown as ReturnType<typeof refuse> };
  }
}

/** @throws SkeinError SOURCE_INVALID */
export function parseJson(where: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw refuse(where, `“${text.trim().slice(0, 40)}” is not JSON`, undefined, cause);
  }
}
