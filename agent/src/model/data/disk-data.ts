/**
 * The data files of the model tools, one set of readers for `try`, `predict`, `quantize` and `pack`:
 *
 * | name ends in | samples |
 * |---|---|
 * | .csv .tsv | one a line; a header names the features; a column `label` or `truth` is the known class |
 * | .jsonl | one a line: an object of numbers, an object of arrays by input name, or an array |
 * | .json | an array of numbers (one sample) or of samples; at most 256 MiB |
 * | .npy | on the first axis |
 * | .npz | on the first axis of each array; named as the model's inputs when it has several |
 * | .idx, -ubyte | IDX as MNIST has it, on the first axis |
 * | .dat | UCI gas sensor lines `class;concentration 1:v 2:v …` |
 * | .u8 | raw bytes, sample after sample of the model's own size |
 * | .jpg .jpeg .png | one picture |
 * | a directory | its pictures, in order of their names; a sub-directory names the class of those in it |
 *
 * All but .npz, .json and pictures are read in the memory of one sample, whatever their size; all files also as .gz
 * (but .npz). Where a sample can not be read the next is, when the format lets one find it.
 */
import { stat } from 'node:fs/promises';
import { basename } from 'node:path';
import { asSkeinError, type SkeinError } from '@skein/protocol/errors.ts';
import { gasLines } from '../../sources/recordings.ts';
import { csvLayout, csvSample, MAX_RECORD_CHARACTERS, RecordReader, type Row } from './delimited.ts';
import { openArray, openNpz, openRaw } from './disk-arrays.ts';
import { innerName, openBytes } from './disk-bytes.ts';
import { openPictures } from './disk-pictures.ts';
import { withTruth } from './disk-truth.ts';
import { columnsOf, jsonSample, MAX_JSON_CHARACTERS, parseJson } from './json-samples.ts';
import { type Line, LineSplitter } from './lines.ts';
import { type DataSet, type Entry, refuse } from './samples.ts';

export interface DataOptions {
  /** Values of one sample of the model; absent when it has several inputs or none is known. */
  width?: number | undefined;
  /** Column with the known class, when it is not called `label` or `truth`. */
  truthColumn?: string | undefined;
  /** A file with the known classes. */
  truth?: string | undefined;
}

const MAX_JSON_BYTES = 2 ** 28;
const KINDS =
  'Give a .csv, .json, .jsonl, .npy, .npz, .dat, IDX or .u8 file, pictures, or plain numbers: 1,2,3';
const NUMBERS = /^[-+.\dNa][-+.\deENa]*([,\s]+[-+.\dNa][-+.\deENa]*)*$/;

async function* linesOf(path: string, maxCharacters: number): AsyncGenerator<Line> {
  await using stream = openBytes(path);
  const splitter = new LineSplitter(basename(path), maxCharacters);
  for (let chunk = await stream.next(); chunk; chunk = await stream.next()) yield* splitter.push(chunk);
  yield* splitter.end();
}

async function* records(path: string): AsyncGenerator<Row> {
  const reader = new RecordReader(basename(path));
  for await (const line of linesOf(path, MAX_RECORD_CHARACTERS)) {
    const row = reader.push(line);
    if (row) yield row;
  }
  reader.end();
}

async function firstOf<T>(items: AsyncGenerator<T>, path: string): Promise<T> {
  for await (const item of items) return item;
  throw refuse(path, 'the file is empty');
}

async function openCsv(path: string, { truthColumn }: DataOptions): Promise<DataSet> {
  const name = basename(path);
  const layout = csvLayout(name, await firstOf(records(path), path), truthColumn);
  async function* samples(): AsyncGenerator<Entry> {
    let skip = layout.header;
    for await (const row of records(path)) {
      if (!skip) yield csvSample(name, layout, row);
      skip = false;
    }
  }
  return { columns: layout.columns, count: undefined, samples };
}

async function* jsonLines(
  path: string,
): AsyncGenerator<{ where: string; value: unknown } | { where: string; problem: SkeinError }> {
  for await (const { number, text } of linesOf(path, MAX_JSON_CHARACTERS)) {
    if (text.trim() === '') continue;
    const where = `${basename(path)} line ${number}`;
    try {
      yield { where, value: parseJson(where, text) };
    } catch (thrown) {
      yield { where, problem: asSkeinError(thrown) };
    }
  }
}

async function openJsonLines(path: string): Promise<DataSet> {
  const first = await firstOf(jsonLines(path), path);
  const columns = 'problem' in first ? undefined : columnsOf(first.value);
  async function* samples(): AsyncGenerator<Entry> {
    for await (const line of jsonLines(path))
      yield 'problem' in line ? line : jsonSample(line.where, line.value, columns);
  }
  return { columns, count: undefined, samples };
}

/** One array of numbers is one sample; an array of arrays or of objects holds several. */
async function openJson(path: string): Promise<DataSet> {
  const parts: Uint8Array[] = [];
  let bytes = 0;
  await using stream = openBytes(path);
  for (let chunk = await stream.next(); chunk; chunk = await stream.next()) {
    bytes += chunk.length;
    if (bytes > MAX_JSON_BYTES)
      throw refuse(path, 'more than 256 MiB of JSON', 'Give one sample a line, as .jsonl.');
    parts.push(chunk);
  }
  const value = parseJson(basename(path), new TextDecoder().decode(Buffer.concat(parts)));
  if (!Array.isArray(value)) throw refuse(path, 'an array of numbers, or of samples, is expected');
  const several = value.length > 0 && value.every((item) => typeof item === 'object' && item !== null);
  const items: unknown[] = several ? value : [value];
  const columns = columnsOf(items[0]);
  async function* samples(): AsyncGenerator<Entry> {
    for (const [i, item] of items.entries()) yield jsonSample(`${basename(path)} sample ${i}`, item, columns);
  }
  return { columns, count: items.length, samples };
}

async function openGas(path: string): Promise<DataSet> {
  async function* samples(): AsyncGenerator<Entry> {
    const parse = gasLines();
    for await (const { number, text } of linesOf(path, MAX_RECORD_CHARACTERS)) {
      const where = `${basename(path)} line ${number}`;
      try {
        const parsed = parse(text, number);
        if (!parsed) continue;
        const values = Float64Array.from(Object.values(parsed.values));
        yield { where, truth: parsed.truth, content: { kind: 'values', shape: [values.length], values } };
      } catch (thrown) {
        yield { where, problem: asSkeinError(thrown) };
      }
    }
  }
  const first = await firstOf(samples(), path);
  if ('problem' in first) throw first.problem;
  const width = first.content.kind === 'values' ? first.content.values.length : 0;
  return { columns: Array.from({ length: width }, (_, i) => `x${i + 1}`), count: undefined, samples };
}

async function openFile(path: string, options: DataOptions): Promise<DataSet> {
  const name = innerName(path).toLowerCase();
  if (/\.[ct]sv$/.test(name)) return openCsv(path, options);
  if (name.endsWith('.jsonl') || name.endsWith('.ndjson')) return openJsonLines(path);
  if (name.endsWith('.json')) return openJson(path);
  if (name.endsWith('.dat')) return openGas(path);
  if (name.endsWith('.npz') && name === path.toLowerCase()) return openNpz(path, options.width);
  if (name.endsWith('.u8')) return openRaw(path, options.width);
  if (name.endsWith('.npy') || /ubyte$|\.idx$/.test(name)) return openArray(path, options.width);
  if (/\.(jpe?g|png)$/.test(name)) return openPictures(path, [basename(path)]);
  throw refuse(path, 'the kind of file is not known', KINDS);
}

/** @throws SkeinError SOURCE_INVALID */
export async function openData(path: string, options: DataOptions = {}): Promise<DataSet> {
  const found = await stat(path).catch(() => undefined);
  if (!found) throw refuse(path, 'does not exist', 'Check the path of the data file.');
  if (!found.isDirectory() && !found.isFile()) throw refuse(path, 'neither a file nor a directory', KINDS);
  const data = found.isDirectory() ? await openPictures(path) : await openFile(path, options);
  return options.truth ? withTruth(data, options.truth) : data;
}

/** One argument of a command: numbers (`1,2.5,-3`) are one sample, all else is a file. @throws SkeinError SOURCE_INVALID */
export async function openArgument(argument: string, options: DataOptions = {}): Promise<DataSet> {
  if (!NUMBERS.test(argument.trim())) return openData(argument, options);
  const values = Float64Array.from(argument.trim().split(/[,\s]+/), Number);
  const bad = values.findIndex(Number.isNaN);
  if (bad >= 0 && !/na/i.test(argument)) throw refuse(argument, 'not numbers', KINDS);
  async function* samples(): AsyncGenerator<Entry> {
    yield {
      where: 'the numbers given',
      truth: undefined,
      content: { kind: 'values', shape: [values.length], values },
    };
  }
  return { columns: undefined, count: 1, samples };
}
