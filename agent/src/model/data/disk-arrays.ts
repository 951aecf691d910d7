/** Arrays on disk, sample by sample: .npy, .npz, IDX and raw bytes. */
import { basename } from 'node:path';
import { type ByteStream, innerName, openBytes, openEntry, zipEntries } from './disk-bytes.ts';
import { idxRank, idxShape } from './idx.ts';
import { fortranSample, NPY_PREFIX_BYTES, npyLayout, numbersFrom, parseNpyHeader } from './npy.ts';
import {
  type DataSet,
  type Entry,
  MAX_SAMPLE_VALUES,
  refuse,
  sampleShape,
  sizeOf,
  type Values,
} from './samples.ts';
import type { ZipEntry } from './zip.ts';

/** What a file's header says; its data follow. */
interface ArrayHead {
  type: string;
  bigEndian: boolean;
  itemBytes: number;
  fortran: boolean;
  shape: readonly number[];
}

type OpenStream = () => ByteStream | Promise<ByteStream>;
type ReadHead = (where: string, stream: ByteStream) => Promise<ArrayHead>;

/** In Fortran order a sample is spread over the whole file, so the whole is held. */
const MAX_FORTRAN_BYTES = 2 ** 29;

const npyHead: ReadHead = async (where, stream) => {
  const prefix = await stream.take(NPY_PREFIX_BYTES, 'the header');
  const { start, length } = npyLayout(where, prefix);
  const rest = await stream.take(start + length - NPY_PREFIX_BYTES, 'the header');
  const dictionary = new Uint8Array(length);
  dictionary.set(prefix.subarray(start));
  dictionary.set(rest, NPY_PREFIX_BYTES - start);
  return parseNpyHeader(where, dictionary);
};

const idxHead: ReadHead = async (where, stream) => {
  const { type, rank } = idxRank(where, await stream.take(4, 'the header'));
  const head = idxShape(where, type, await stream.take(4 * rank, 'the header'));
  return { ...head, bigEndian: true, fortran: false };
};

/** Samples along the first axis. */
interface ArrayFile {
  count: number;
  shape: readonly number[];
  values(): AsyncGenerator<Values>;
}

async function arrayFile(
  where: string,
  openStream: OpenStream,
  readHead: ReadHead,
  width: number | undefined,
): Promise<ArrayFile> {
  const opened = await openStream();
  const head = await readHead(where, opened);
  await opened[Symbol.asyncDispose]();
  const { count, shape } = sampleShape(head.shape, width);
  if (sizeOf(shape) > MAX_SAMPLE_VALUES)
    throw refuse(where, `one sample has ${sizeOf(shape)} values, at most ${MAX_SAMPLE_VALUES} are read`);
  if (head.fortran && sizeOf(head.shape) * head.itemBytes > MAX_FORTRAN_BYTES)
    throw refuse(where, 'too large in Fortran order', 'Save it in C order: numpy.ascontiguousarray(x).');
  const values = async function* (): AsyncGenerator<Values> {
    await using stream = await openStream();
    await readHead(where, stream);
    yield* head.fortran ? fortranValues(stream, head, count) : plainValues(stream, head, count, shape);
    if (!(await stream.atEnd())) throw refuse(where, `it goes on after the ${count} samples of its shape`);
  };
  return { count, shape, values };
}

async function* plainValues(stream: ByteStream, head: ArrayHead, count: number, shape: readonly number[]) {
  const bytes = sizeOf(shape) * head.itemBytes;
  for (let i = 0; i < count; i++) {
    const values = numbersFrom(
      await stream.take(bytes, `sample ${i} of ${count}`),
      head.type,
      head.bigEndian,
    );
    yield { shape, values };
  }
}

async function* fortranValues(stream: ByteStream, head: ArrayHead, count: number) {
  const bytes = await stream.take(sizeOf(head.shape) * head.itemBytes, 'its data');
  const all = numbersFrom(bytes, head.type, head.bigEndian);
  const whole = count === 1 && head.shape[0] !== 1;
  const shape = whole ? [1, ...head.shape] : head.shape;
  for (let i = 0; i < count; i++) yield { shape: shape.slice(1), values: fortranSample(all, shape, i) };
}

async function* entriesOf(where: string, file: ArrayFile): AsyncGenerator<Entry> {
  let index = 0;
  for await (const values of file.values()) {
    yield { where: `${where} sample ${index++}`, truth: undefined, content: { kind: 'values', ...values } };
  }
}

/** @param width values of one sample of the model, for an array that is one sample as a whole. */
export async function openArray(path: string, width: number | undefined): Promise<DataSet> {
  const readHead = innerName(path).endsWith('.npy') ? npyHead : idxHead;
  const file = await arrayFile(path, () => openBytes(path), readHead, width);
  return { columns: undefined, count: file.count, samples: () => entriesOf(basename(path), file) };
}

const inputName = ({ name }: ZipEntry): string => name.replace(/\.npy$/, '');

/** Arrays named `label`, `truth` or `y_true` hold the known classes. */
const isTruth = (name: string): boolean => ['label', 'labels', 'truth'].includes(name);

/** All arrays in step, one for each input of the model. @throws SkeinError SOURCE_INVALID */
export async function openNpz(path: string, width: number | undefined): Promise<DataSet> {
  const entries = (await zipEntries(path)).filter(({ name }) => name.endsWith('.npy'));
  if (entries.length === 0) throw refuse(path, 'it holds no .npy', 'Save it with numpy.savez("x.npz", x=x).');
  const single = entries.filter((entry) => !isTruth(inputName(entry))).length === 1;
  const files = await Promise.all(
    entries.map(async (entry) => {
      const name = inputName(entry);
      const own = single && !isTruth(name) ? width : undefined;
      return [
        name,
        await arrayFile(`${path}:${entry.name}`, () => openEntry(path, entry), npyHead, own),
      ] as const;
    }),
  );
  const counts = new Set(files.map(([, { count }]) => count));
  if (counts.size > 1) {
    const found = files.map(([name, { count }]) => `${name} ${count}`).join(', ');
    throw refuse(path, `the arrays have different numbers of samples: ${found}`, 'Save as many of each.');
  }
  const named = files.filter(([name]) => !isTruth(name));
  if (named.length === 0) throw refuse(path, 'it holds known classes only');
  return { columns: undefined, count: [...counts][0]!, samples: () => inStep(basename(path), files) };
}

async function* inStep(where: string, files: (readonly [string, ArrayFile])[]): AsyncGenerator<Entry> {
  const readers = files.map(([name, file]) => [name, file.values()] as const);
  try {
    for (let index = 0; ; index++) {
      const next = await Promise.all(
        readers.map(async ([name, reader]) => [name, await reader.next()] as const),
      );
      if (next.some(([, { done }]) => done)) return;
      const truth = next.find(([name]) => isTruth(name))?.[1].value as Values | undefined;
      const arrays = next
        .filter(([name]) => !isTruth(name))
        .map(([name, { value }]) => [name, value as Values]);
      yield {
        where: `${where} sample ${index}`,
        truth: truth && String(truth.values[0]),
        content: { kind: 'named', arrays: Object.fromEntries(arrays) },
      };
    }
  } finally {
    await Promise.all(readers.map(([, reader]) => reader.return(undefined)));
  }
}

/** Raw bytes, sample after sample of the model's own size. @throws SkeinError SOURCE_INVALID */
export async function openRaw(path: string, width: number | undefined): Promise<DataSet> {
  if (width === undefined) throw refuse(path, 'raw bytes are read for models with one input only');
  async function* samples(): AsyncGenerator<Entry> {
    await using stream = openBytes(path);
    for (let index = 0; !(await stream.atEnd()); index++) {
      const values = (await stream.take(width!, `sample ${index}`)).slice();
      const where = `${basename(path)} sample ${index}`;
      yield { where, truth: undefined, content: { kind: 'values', shape: [width!], values } };
    }
  }
  return { columns: undefined, count: undefined, samples };
}

/** One value a sample, e.g. of known classes. */
export async function readColumn(path: string, most: number): Promise<number[]> {
  const data = innerName(path).endsWith('.u8') ? await openRaw(path, 1) : await openArray(path, undefined);
  const numbers: number[] = [];
  for await (const entry of data.samples()) {
    if ('problem' in entry) throw entry.problem;
    const { content } = entry;
    if (content.kind !== 'values' || content.values.length !== 1)
      throw refuse(path, 'one value a sample is expected', 'Give class numbers, one for each sample.');
    if (numbers.push(Number(content.values[0])) > most) throw refuse(path, `more than ${most} values`);
  }
  return numbers;
}
