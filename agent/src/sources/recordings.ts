/**
 * The text formats a recording may have.
 * `csv`: a header of column names, then numbers; an empty cell is missing (NaN). Columns named `ts`, `mono` and those
 * ending in `_at` are carried like any other; a column `truth` or `label` is the known class, never a feature.
 * `gas`: `class;concentration 1:v 2:v …` (UCI Gas Sensor Array Drift); features are named `x1` … `xN`.
 * `jsonl`: one flat object of numbers a line; null is missing; a string `truth` is the known class.
 * A line is bounded to 64 KiB and a row to 1024 columns; more is an error of the recording, not a crash.
 */
import { SkeinError } from '@skein/protocol/errors.ts';
import type { LineParser, Values } from './replay-source.ts';

const MAX_COLUMNS = 1024;
export const MAX_LINE_CHARACTERS = 65_536;
const TRUTH = new Set(['truth', 'label']);

const invalid = (number: number, what: string): SkeinError =>
  new SkeinError('SOURCE_INVALID', `line ${number}: ${what}`, {
    fix: 'Correct the recording or choose its format in the source’s `format`.',
    data: { line: number },
  });

const numberOf = (cell: string, number: number, column: string): number => {
  const text = cell.trim();
  if (text === '' || text === 'NaN' || text === 'null') return Number.NaN;
  const value = Number(text);
  if (Number.isNaN(value))
    throw invalid(number, `“${text.slice(0, 40)}” in column ${column} is not a number`);
  return value;
};

export function csvLines(): LineParser {
  let columns: string[] | undefined;
  return (line, number) => {
    if (line.trim() === '') return undefined;
    const cells = line.replace(/\r$/, '').split(',');
    if (!columns) {
      columns = cells.map((cell) => cell.trim().replace(/^"|"$/g, ''));
      if (columns.length > MAX_COLUMNS) throw invalid(number, `more than ${MAX_COLUMNS} columns`);
      return undefined;
    }
    if (cells.length !== columns.length)
      throw invalid(number, `${cells.length} cells, the header has ${columns.length}`);
    return rowOf(columns, cells, number);
  };
}

function rowOf(columns: string[], cells: string[], number: number) {
  const values: Values = {};
  let truth: string | undefined;
  columns.forEach((column, i) => {
    if (TRUTH.has(column)) truth = cells[i]!.trim();
    else values[column] = numberOf(cells[i]!, number, column);
  });
  return truth === undefined ? { values } : { values, truth };
}

/** The six gases of the recording by class number, as the labels of `gas-v1` name them. */
const GASES = ['ethanol', 'ethylene', 'ammonia', 'acetaldehyde', 'acetone', 'toluene'];

export function gasLines(): LineParser {
  return (line, number) => {
    if (line.trim() === '') return undefined;
    const [head = '', ...cells] = line.trim().split(/\s+/);
    const gas = GASES[Number(head.split(';')[0]) - 1];
    if (!gas) throw invalid(number, `“${head.slice(0, 40)}” is not class;concentration`);
    if (cells.length > MAX_COLUMNS) throw invalid(number, `more than ${MAX_COLUMNS} columns`);
    const pairs = cells.map((cell) => {
      const [index = '', value = ''] = cell.split(':');
      return [`x${Number(index)}`, numberOf(value, number, index)] as const;
    });
    return { values: Object.fromEntries(pairs), truth: gas };
  };
}

export function jsonLines(): LineParser {
  return (line, number) => {
    if (line.trim() === '') return undefined;
    if (line.length > MAX_LINE_CHARACTERS)
      throw invalid(number, `longer than ${MAX_LINE_CHARACTERS} characters`);
    return flatRow(objectOf(line, number), number);
  };
}

function objectOf(line: string, number: number): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    throw invalid(number, `“${line.slice(0, 40)}” is not JSON`);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw invalid(number, 'not a JSON object of numbers');
  return value as Record<string, unknown>;
}

function flatRow(object: Record<string, unknown>, number: number) {
  const entries = Object.entries(object);
  if (entries.length > MAX_COLUMNS) throw invalid(number, `more than ${MAX_COLUMNS} values`);
  const values: Values = {};
  for (const [key, value] of entries) {
    if (value === null) values[key] = Number.NaN;
    else if (typeof value === 'number') values[key] = value;
    else if (typeof value === 'boolean') values[key] = value ? 1 : 0;
    else if (!TRUTH.has(key)) throw invalid(number, `${key} is not a number`);
  }
  const truth = [...TRUTH].map((key) => object[key]).find((value) => typeof value === 'string');
  return typeof truth === 'string' ? { values, truth } : { values };
}

export type RecordingFormat = 'csv' | 'gas' | 'jsonl';
export const RECORDING_FORMATS: Record<RecordingFormat, () => LineParser> = {
  csv: csvLines,
  gas: gasLines,
  jsonl: jsonLines,
};
