/**
 * The text formats a recording may have.
 * `csv`: a header of column names, then numbers; an empty cell is missing (NaN). Columns named `ts`, `mono` and those
 * ending in `_at` are carried like any other; a column `truth` or `label` is the known class, never a feature.
 * `gas`: `class;concentration 1:v 2:v …` (UCI Gas Sensor Array Drift); features are named `x1` … `xN`.
 * `jsonl`: one flat object of numbers a line; null is missing; a string `truth` is the known class.
 * A line is bounded to 64 KiB and a row to 1024 columns; more is an error of the recording, not a crash.
 */
import { SkeinError } from '@skein/protocol/errors.ts';
import { type Millis, SECOND } from '@skein/protocol/units.ts';
import { MAX_COLUMNS, type Mapping, rowOf, TRUTH, type Values } from './json-rows.ts';
import type { LineParser, RecordedRow } from './replay-source.ts';

export const MAX_LINE_CHARACTERS = 65_536;

const invalid = (number: number, what: string, fix?: string): SkeinError =>
  new SkeinError('SOURCE_INVALID', `line ${number}: ${what}`, {
    fix: fix ?? 'Correct the line, or say what kind of recording it is in the source’s `kind`.',
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

/** @param timeColumn carries the time of a row, not a value. */
export function csvLines(timeColumn?: string): LineParser {
  let columns: string[] | undefined;
  return (line, number) => {
    if (line.trim() === '') return undefined;
    const cells = line.replace(/\r$/, '').split(',');
    if (!columns) {
      columns = cells.map((cell) => cell.trim().replace(/^"|"$/g, ''));
      if (columns.length > MAX_COLUMNS) throw invalid(number, `more than ${MAX_COLUMNS} columns`);
      if (timeColumn !== undefined && !columns.includes(timeColumn))
        throw invalid(
          number,
          `no column ${timeColumn}`,
          `The columns are: ${columns.slice(0, 32).join(', ')}.`,
        );
      return undefined;
    }
    if (cells.length !== columns.length)
      throw invalid(number, `${cells.length} cells, the header has ${columns.length}`);
    return cellsRow(columns, cells, number, timeColumn);
  };
}

function cellsRow(
  columns: string[],
  cells: string[],
  number: number,
  timeColumn: string | undefined,
): RecordedRow {
  const values: Values = {};
  let truth: string | undefined;
  let at: Millis | undefined;
  columns.forEach((column, i) => {
    if (column === timeColumn) at = timeOf(cells[i]!.replace(/^\s*"|"\s*$/g, ''), number, column);
    else if (TRUTH.has(column)) truth = cells[i]!.trim();
    else values[column] = numberOf(cells[i]!, number, column);
  });
  return { values, ...(truth === undefined ? {} : { truth }), ...(at === undefined ? {} : { at }) };
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

/** @param mapping of features to paths; absent: flat objects. */
export function jsonLines(timeColumn?: string, mapping?: Mapping): LineParser {
  return (line, number) => {
    if (line.trim() === '') return undefined;
    if (line.length > MAX_LINE_CHARACTERS)
      throw invalid(number, `longer than ${MAX_LINE_CHARACTERS} characters`);
    const json = jsonOf(line, number);
    const complain = (what: string, fix?: string) => invalid(number, what, fix);
    if (timeColumn === undefined) return rowOf(json, mapping, complain);
    const { [timeColumn]: time, ...rest } = json as Record<string, unknown>;
    return { ...rowOf(mapping ? json : rest, mapping, complain), at: timeOf(time, number, timeColumn) };
  };
}

function jsonOf(line: string, number: number): unknown {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    throw invalid(number, `“${line.slice(0, 40)}” is not JSON`);
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value;
  throw invalid(number, 'not a JSON object of numbers');
}

/** Beyond this a number counts milliseconds since 1970, below it seconds since whenever: 1e11 s is the year 5138. */
const MILLISECONDS_FROM = 1e11;

/** Milliseconds. @throws SkeinError SOURCE_INVALID */
function timeOf(value: unknown, number: number, column: string): Millis {
  const text = String(value ?? '').trim();
  const amount = text === '' ? Number.NaN : Number(text);
  const at = Number.isNaN(amount)
    ? Date.parse(ISO_SPACE.test(text) ? `${text.replace(' ', 'T')}Z` : text)
    : Math.abs(amount) < MILLISECONDS_FROM
      ? amount * SECOND
      : amount;
  if (Number.isFinite(at)) return at;
  throw invalid(number, `“${text.slice(0, 40)}” in column ${column} is no time`, TIME_FIX);
}

/** `2014-02-07 21:15:00`, as many recordings write UTC; `Date.parse` would take it for local time. */
const ISO_SPACE = /^\d{4}-\d\d-\d\d \d\d:\d\d(:\d\d(\.\d+)?)?$/;
const TIME_FIX =
  'Times are seconds, milliseconds or ISO 8601; correct `timeColumn`, or leave it out and set `period`.';

export type RecordingFormat = 'csv' | 'gas' | 'jsonl';
export const RECORDING_FORMATS: Record<
  RecordingFormat,
  (timeColumn?: string, mapping?: Mapping) => LineParser
> = {
  csv: csvLines,
  gas: () => gasLines(),
  jsonl: jsonLines,
};
