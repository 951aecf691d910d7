/** One line of `predict` for each sample, as JSON or CSV. Pure. */
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Tensor, Tensors } from '../inference/backend.ts';
import { softmax } from '../pipeline/postprocess.ts';
import { tensorNumbers } from '../pipeline/tensor-numbers.ts';

export interface Ranked {
  label: string;
  score: number;
}

/** What a sample became, or why it did not. */
export type PredictRow = { sample: number; where: string; truth?: string } & (
  | { error: string; message: string }
  | { outputs: Record<string, unknown> }
  | ({ label: string; score: number; alarm?: 0 | 1 } & Record<string, unknown>)
);

const numbersOf = (tensor: Tensor): number[] => Array.from(tensorNumbers(tensor));

/** Values nested as the tensor's shape is; the axis of the batch is left out. JSON has no NaN: those become null. */
function nested(tensor: Tensor): unknown {
  const build = (values: number[], dims: readonly number[]): unknown => {
    if (dims.length === 0) return values[0] ?? null;
    if (dims.length === 1) return values;
    const width = values.length / Math.max(1, dims[0]!);
    return Array.from({ length: dims[0]! }, (_, i) =>
      build(values.slice(i * width, (i + 1) * width), dims.slice(1)),
    );
  };
  const { dims } = tensor;
  return build(numbersOf(tensor), dims[0] === 1 && dims.length > 1 ? dims.slice(1) : dims);
}

export const rawOutputs = (outputs: Tensors): Record<string, unknown> =>
  Object.fromEntries(Object.entries(outputs).map(([name, tensor]) => [name, nested(tensor)]));

/** The best `most` classes of the first output. @throws SkeinError TENSOR_INVALID when there are not as many labels */
export function rankedClasses(
  outputs: Tensors,
  labels: readonly string[] | undefined,
  most: number,
  asProbabilities: boolean,
): Ranked[] {
  const [name, tensor] = Object.entries(outputs)[0]!;
  const values = numbersOf(tensor);
  if (labels && labels.length !== values.length) {
    throw new SkeinError(
      'TENSOR_INVALID',
      `${labels.length} labels given, output \`${name}\` has ${values.length} values`,
      { fix: 'Give one label for each value of the output, in its order.' },
    );
  }
  const scores = asProbabilities ? [...softmax(values)] : values;
  return [...scores.keys()]
    .sort((a, b) => scores[b]! - scores[a]! || a - b)
    .slice(0, most)
    .map((i) => ({ label: labels?.[i] ?? String(i), score: scores[i]! }));
}

export const toJsonLine = (row: PredictRow): string => `${JSON.stringify(row)}\n`;

/** More columns than this are no table. */
const MAX_COLUMNS = 10_000;

/** Nested values as `name`, or `name[i]` when there are several. */
function* flattened(name: string, value: unknown): Generator<[string, unknown]> {
  if (Array.isArray(value))
    for (const [i, inner] of value.entries()) yield* flattened(`${name}[${i}]`, inner);
  else if (value !== null && typeof value === 'object')
    for (const [key, inner] of Object.entries(value)) yield* flattened(`${name}.${key}`, inner);
  else yield [name, value];
}

const quoted = (value: unknown): string => {
  const text = value === null || value === undefined ? '' : String(value);
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};

const LAST_COLUMNS = ['truth', 'error', 'message'];

/** The columns are those of the first sample that was predicted; a detector's boxes do not fit and are left out. */
export class CsvWriter {
  #columns: string[] | undefined;
  #waiting: PredictRow[] = [];

  /** Text to write now: failures before the first prediction wait for its columns. @throws SkeinError REQUEST_INVALID */
  row(row: PredictRow): string {
    if (this.#columns) return this.#line(row);
    this.#waiting.push(row);
    return 'error' in row && this.#waiting.length < MAX_COLUMNS ? '' : this.end();
  }

  end(): string {
    if (this.#columns) return '';
    const model = this.#waiting.findLast((row) => !('error' in row)) ?? this.#waiting[0];
    if (!model) return '';
    const own = Object.keys(cells(model)).filter((name) => !LAST_COLUMNS.includes(name));
    this.#columns = [...own, ...LAST_COLUMNS];
    if (this.#columns.length > MAX_COLUMNS) {
      throw new SkeinError('REQUEST_INVALID', `${this.#columns.length} columns are too many for CSV`, {
        fix: 'Write JSON lines instead: --format jsonl.',
      });
    }
    const waiting = this.#waiting.splice(0).map((row) => this.#line(row));
    return [`${this.#columns.map(quoted).join(',')}\n`, ...waiting].join('');
  }

  #line(row: PredictRow): string {
    const own = cells(row);
    return `${this.#columns!.map((name) => quoted(own[name])).join(',')}\n`;
  }
}

function cells(row: PredictRow): Record<string, unknown> {
  const entries = Object.entries(row).flatMap(([key, value]): [string, unknown][] => {
    if (key === 'boxes') return [['boxes', (value as unknown[]).length]];
    if (key === 'outputs') return Object.entries(value as object).flatMap(([n, v]) => [...flattened(n, v)]);
    return [...flattened(key, value)];
  });
  return Object.fromEntries(entries);
}
