/**
 * What every data reader gives, whatever the file: samples one after another, so that a file of any size is read in
 * the memory of one sample. A sample that can not be read is an entry too, with the reason: the caller decides whether
 * the rest goes on.
 */
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Picture } from '../../sources/port.ts';

export type Numbers =
  | Float32Array
  | Float64Array
  | Int8Array
  | Uint8Array
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | BigInt64Array
  | BigUint64Array;

/** Dense, row-major; without the axis of the samples. */
export interface Values {
  shape: readonly number[];
  values: Numbers;
}

export type Content =
  | ({ kind: 'values' } & Values)
  /** By input name, for models with several inputs. */
  | { kind: 'named'; arrays: Readonly<Record<string, Values>> }
  | { kind: 'picture'; picture: Picture };

export interface Sample {
  /** For people: `data.csv line 3`, `x.npy sample 17`, `cats/1.jpg`. */
  where: string;
  /** Known class, when the data has it. */
  truth: string | undefined;
  content: Content;
}

export type Entry = Sample | { where: string; problem: SkeinError };

export interface DataSet {
  /** Names of the values of each sample, when the data names them. */
  readonly columns: readonly string[] | undefined;
  /** Number of samples, when it is known before they are read. */
  readonly count: number | undefined;
  /** From the first one on, each time. @throws SkeinError SOURCE_INVALID when no further sample can be read */
  samples(): AsyncIterable<Entry>;
}

/** @param found what is there, and what was expected. */
export const refuse = (where: string, found: string, fix?: string, cause?: unknown): SkeinError =>
  new SkeinError('SOURCE_INVALID', `${where}: ${found}`, {
    fix: fix ?? 'Correct the data file, or give another.',
    cause,
  });

/** For work that is worth nothing with samples missing. @throws the first problem */
export async function* strictly(entries: AsyncIterable<Entry>): AsyncIterable<Sample> {
  for await (const entry of entries) {
    if ('problem' in entry) throw entry.problem;
    yield entry;
  }
}

/** More values than this in one sample is refused before anything is allocated: 64 Mi. */
export const MAX_SAMPLE_VALUES = 2 ** 26;

export const sizeOf = (shape: readonly number[]): number => shape.reduce((product, dim) => product * dim, 1);

export const shapeText = (shape: readonly number[]): string =>
  `[${shape.map((dim) => (dim < 0 ? '?' : dim)).join(', ')}]`;

/**
 * The shape of one sample of an array that holds many on its first axis. An array that as a whole is just what one
 * sample of the model takes (`width` values), and no sample along the first axis is, is one sample itself.
 */
export function sampleShape(
  shape: readonly number[],
  width: number | undefined,
): { count: number; shape: readonly number[] } {
  const inner = shape.slice(1);
  const single = shape.length === 0 || (sizeOf(shape) === width && sizeOf(inner) !== width);
  return single ? { count: 1, shape } : { count: shape[0]!, shape: inner };
}
