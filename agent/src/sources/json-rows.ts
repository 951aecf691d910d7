/**
 * JSON to a row of features. Without a mapping it must be a flat object of numbers: null is missing, true is 1, a string
 * `truth` or `label` is the known class. With one, each feature is the number at its path; a string that is a number
 * counts as one (many sensors send them), what is not there is missing, and a payload in which nothing is there is no
 * reading at all. At most {@link MAX_COLUMNS} values.
 */
import type { SkeinError } from '@skein/protocol/errors.ts';
import { type JsonPath, parseJsonPath, valueAt } from './json-path.ts';

export type Values = Record<string, number>;

export interface Row {
  values: Values;
  truth?: string;
}

export const MAX_COLUMNS = 1024;
export const TRUTH: ReadonlySet<string> = new Set(['truth', 'label']);

/** Makes the error that names the place. */
export type Complain = (what: string, fix?: string) => SkeinError;

export type Mapping = readonly { feature: string; text: string; path: JsonPath }[];

/** @param values as configured: feature to path, checked already. */
export const mappingOf = (values: Readonly<Record<string, string>> | undefined): Mapping | undefined =>
  values &&
  Object.entries(values).map(([feature, text]) => ({ feature, text, path: parseJsonPath(text) ?? [] }));

/** @throws SkeinError as `complain` makes it */
export function rowOf(json: unknown, mapping: Mapping | undefined, complain: Complain): Row {
  if (mapping) return mappedRow(json, mapping, complain);
  if (typeof json !== 'object' || json === null || Array.isArray(json))
    throw complain('not a JSON object of numbers');
  return flatRow(json as Record<string, unknown>, complain);
}

const NAME_THEM = 'Name the numbers that matter in the source’s `values`, like { temp: "$.sensor.temp" }.';

function flatRow(object: Record<string, unknown>, complain: Complain): Row {
  const entries = Object.entries(object);
  if (entries.length > MAX_COLUMNS) throw complain(`more than ${MAX_COLUMNS} values`);
  const values: Values = {};
  for (const [key, value] of entries) {
    const number = numberIn(value);
    if (number !== undefined) values[key] = number;
    else if (!TRUTH.has(key)) throw complain(`${key.slice(0, 64)} is not a number`, NAME_THEM);
  }
  const truth = [...TRUTH].map((key) => object[key]).find((value) => typeof value === 'string');
  return typeof truth === 'string' ? { values, truth } : { values };
}

const numberIn = (value: unknown): number | undefined => {
  if (value === null) return Number.NaN;
  if (typeof value === 'boolean') return value ? 1 : 0;
  return typeof value === 'number' ? value : undefined;
};

function mappedRow(json: unknown, mapping: Mapping, complain: Complain): Row {
  const values: Values = {};
  let found = 0;
  for (const { feature, text, path } of mapping) {
    const value = valueAt(json, path);
    if (value !== undefined) found++;
    const number = value === undefined ? Number.NaN : (numberIn(value) ?? numberText(value));
    if (number === undefined) throw complain(`${text} (${feature}) is not a number`);
    values[feature] = number;
  }
  if (found === 0) throw complain('nothing is at any path of `values`', 'Compare the paths with a payload.');
  return { values };
}

function numberText(value: unknown): number | undefined {
  if (typeof value !== 'string' || value.trim() === '' || value.length > 64) return undefined;
  const number = Number(value);
  return Number.isNaN(number) ? undefined : number;
}
