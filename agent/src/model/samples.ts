/**
 * The data files that the model tools read, as rows of numbers. Pure: text or bytes in.
 *
 * | name ends in | rows |
 * |---|---|
 * | .csv | one a line; a header names the columns; a column `label` or `truth` is the known class |
 * | .jsonl | one flat object a line, or one array a line |
 * | .json | one array of numbers, or an array of such arrays (nested arrays are flattened) |
 * | .dat | UCI gas sensor lines `class;concentration 1:v 2:v …` |
 * | .npy | samples on the first axis |
 * | .idx, -ubyte | IDX as MNIST has it, samples on the first axis |
 * | .u8 | raw bytes, row after row of the model's own size |
 *
 * Limits: 256 MiB a file (checked by the reader), 1,000,000 rows.
 */
import { SkeinError } from '@skein/protocol/errors.ts';
import { gasLines, jsonLines } from '../sources/recordings.ts';

export interface SampleTable {
  /** Names of the columns, when the file has them. */
  columns: string[] | undefined;
  rows: Float64Array[];
  /** Known class of each row, when the file has them. */
  truth: string[] | undefined;
}

const MAX_ROWS = 1_000_000;
const TRUTH_COLUMNS = new Set(['label', 'truth']);

const invalid = (name: string, message: string, cause?: unknown) =>
  new SkeinError('SOURCE_INVALID', `${name}: ${message}`, {
    fix: 'Give a .csv, .json, .jsonl, .npy, .dat, IDX or .u8 file, or plain numbers: 1,2,3',
    cause,
  });

const cellOf = (text: string): number => {
  const trimmed = text.trim();
  return trimmed === '' || trimmed === 'NaN' || trimmed === 'null' ? Number.NaN : Number(trimmed);
};
const isNumeric = (text: string): boolean =>
  /^\s*(NaN|null|[-+]?[\d.].*)?\s*$/.test(text) && !Number.isNaN(Number(text.replace(/NaN|null/, '0')));

function readCsv(name: string, text: string): SampleTable {
  const lines = text
    .split('\n')
    .map((line) => line.replace(/\r$/, ''))
    .filter((line) => line.trim() !== '');
  if (lines.length === 0) throw invalid(name, 'the file is empty');
  const first = lines[0]!.split(',');
  const header = first.every(isNumeric) ? undefined : first.map((cell) => cell.trim().replace(/^"|"$/g, ''));
  const truthAt = header?.findIndex((column) => TRUTH_COLUMNS.has(column)) ?? -1;
  const truth: string[] = [];
  const rows = lines.slice(header ? 1 : 0).map((line, i) => {
    const cells = line.split(',');
    const number = i + (header ? 2 : 1);
    if (cells.length !== first.length) {
      throw invalid(name, `line ${number} has ${cells.length} cells, the first line ${first.length}`);
    }
    if (truthAt >= 0) truth.push(cells.splice(truthAt, 1)[0]!.trim());
    const row = Float64Array.from(cells, cellOf);
    const wrong = cells.findIndex((cell, c) => Number.isNaN(row[c]) && !isNumeric(cell));
    if (wrong >= 0) throw invalid(name, `line ${number}: “${cells[wrong]!.slice(0, 40)}” is not a number`);
    return row;
  });
  const columns = header?.filter((_, c) => c !== truthAt);
  return { columns, rows, truth: truthAt >= 0 ? truth : undefined };
}

/** Named values line by line; every line must have the columns of the first. */
function readNamed(name: string, text: string, format: 'dat' | 'jsonl'): SampleTable {
  const parse = format === 'dat' ? gasLines() : jsonLines();
  let columns: string[] | undefined;
  const rows: Float64Array[] = [];
  const truth: string[] = [];
  text.split('\n').forEach((line, i) => {
    const parsed = line.trim() === '' ? undefined : parse(line, i + 1);
    if (!parsed) return;
    columns ??= Object.keys(parsed.values);
    rows.push(Float64Array.from(columns, (column) => parsed.values[column] ?? Number.NaN));
    if (parsed.truth !== undefined) truth.push(parsed.truth);
  });
  if (rows.length === 0) throw invalid(name, 'the file is empty');
  return { columns, rows, truth: truth.length === rows.length ? truth : undefined };
}

const flatten = (name: string, value: unknown): number[] => {
  if (typeof value === 'number') return [value];
  if (value === null) return [Number.NaN];
  if (!Array.isArray(value)) throw invalid(name, `${JSON.stringify(value)?.slice(0, 40)} is not a number`);
  return value.flatMap((item) => flatten(name, item));
};

function readJson(name: string, text: string): SampleTable {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw invalid(name, 'not JSON', cause);
  }
  if (!Array.isArray(value)) throw invalid(name, 'an array of numbers, or of arrays of numbers, is expected');
  const several = value.length > 0 && value.every(Array.isArray);
  const rows = (several ? value : [value]).map((row) => Float64Array.from(flatten(name, row)));
  return { columns: undefined, rows, truth: undefined };
}

const split = (values: ArrayLike<number>, count: number): Float64Array[] => {
  const width = values.length / count;
  return Array.from({ length: count }, (_, r) =>
    Float64Array.from({ length: width }, (_, c) => values[r * width + c]!),
  );
};

/** dtype → reader of little-endian values. */
const NPY_TYPES: Record<string, (buffer: ArrayBuffer) => ArrayLike<number>> = {
  '<f4': (b) => new Float32Array(b),
  '<f8': (b) => new Float64Array(b),
  '|u1': (b) => new Uint8Array(b),
  '|i1': (b) => new Int8Array(b),
  '<u2': (b) => new Uint16Array(b),
  '<i2': (b) => new Int16Array(b),
  '<i4': (b) => new Int32Array(b),
};

/** NumPy format 1 and 2: magic, version, header length, a Python dict, data. */
function readNpy(name: string, bytes: Uint8Array): SampleTable {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 12 || view.getUint32(0) !== 0x934e554d) throw invalid(name, 'not a .npy file');
  const wide = bytes[6]! > 1;
  const start = wide ? 12 : 10;
  const length = wide ? view.getUint32(8, true) : view.getUint16(8, true);
  const header = new TextDecoder('latin1').decode(bytes.subarray(start, start + length));
  const type = /'descr':\s*'([^']+)'/.exec(header)?.[1] ?? '';
  const shape = (/'shape':\s*\(([^)]*)\)/.exec(header)?.[1] ?? '')
    .split(',')
    .filter((d) => d.trim())
    .map(Number);
  const read = NPY_TYPES[type];
  if (!read || /'fortran_order':\s*True/.test(header)) {
    throw invalid(name, `dtype ${type} in this order is not read; save C-ordered float32`);
  }
  const data = Uint8Array.from(bytes.subarray(start + length)).buffer;
  const count = shape.reduce((product, dim) => product * dim, 1);
  const values = read(
    data.slice(0, data.byteLength - (data.byteLength % 8 === 0 ? 0 : data.byteLength % Number(type.at(-1)))),
  );
  if (values.length !== count) throw invalid(name, `holds ${values.length} values, its shape ${count}`);
  return { columns: undefined, rows: split(values, shape.length > 1 ? shape[0]! : 1), truth: undefined };
}

/** Magic 0, 0, type 8 (unsigned byte), rank; then big-endian dimensions; then data. */
function readIdx(name: string, bytes: Uint8Array): SampleTable {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const rank = bytes[3] ?? 0;
  if (bytes.length < 4 + 4 * rank || bytes[0] !== 0 || bytes[2] !== 8 || rank < 1 || rank > 4) {
    throw invalid(name, 'not an IDX file of unsigned bytes');
  }
  const shape = Array.from({ length: rank }, (_, d) => view.getUint32(4 + 4 * d));
  const data = bytes.subarray(4 + 4 * rank);
  if (data.length !== shape.reduce((product, dim) => product * dim, 1))
    throw invalid(name, 'the file is cut short');
  return { columns: undefined, rows: split(data, shape[0]!), truth: undefined };
}

/** @param width values of one sample, for raw bytes. @throws SkeinError SOURCE_INVALID */
export function readSamples(name: string, bytes: Uint8Array, width: number): SampleTable {
  const text = () => new TextDecoder().decode(bytes);
  const table = ((): SampleTable => {
    if (name.endsWith('.csv')) return readCsv(name, text());
    if (name.endsWith('.json')) return readJson(name, text());
    if (name.endsWith('.jsonl') && text().trimStart().startsWith('[')) {
      return readJson(name, `[${text().trim().split('\n').join(',')}]`);
    }
    if (name.endsWith('.jsonl')) return readNamed(name, text(), 'jsonl');
    if (name.endsWith('.dat')) return readNamed(name, text(), 'dat');
    if (name.endsWith('.npy')) return readNpy(name, bytes);
    if (/ubyte$|\.idx$/.test(name)) return readIdx(name, bytes);
    if (!name.endsWith('.u8')) throw invalid(name, 'the kind of file is not known');
    if (bytes.length === 0 || bytes.length % width !== 0) {
      throw invalid(name, `${bytes.length} bytes are no whole number of samples of ${width}`);
    }
    return { columns: undefined, rows: split(bytes, bytes.length / width), truth: undefined };
  })();
  if (table.rows.length > MAX_ROWS) throw invalid(name, `more than ${MAX_ROWS} rows`);
  return table;
}
