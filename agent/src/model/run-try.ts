/** `skein-model try`: what does this model say about this input? No manifest and no keys are needed. */
import { readFile } from 'node:fs/promises';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Manifest, TensorSpec } from '@skein/protocol/manifest.ts';
import type { Tensors } from '../inference/backend.ts';
import type { OnnxSession } from '../inference/onnx-session.ts';
import { elementCount, viewOf } from '../inference/tensors.ts';
import { argmax, postprocess } from '../pipeline/postprocess.ts';
import { inputTensors, missingIn, rowOf, scaleRow } from '../pipeline/preprocess.ts';
import { RowWindow } from '../pipeline/window.ts';
import { readBundle } from './disk-bundle.ts';
import { readInput } from './disk-samples.ts';
import { openModel } from './onnx-quantize.ts';
import type { SampleTable } from './samples.ts';

/** One line of the answer: flat, for a table or JSON. */
export type TryRow = Record<string, string | number | number[]>;

export const sampleWidth = (spec: TensorSpec): number => elementCount(spec.shape.map((d) => Math.max(1, d)));

/** A row of numbers as the model's one input. @throws SkeinError TENSOR_INVALID */
export function tensorOf(spec: TensorSpec, row: Float64Array): Tensors {
  const width = sampleWidth(spec);
  if (row.length !== width) {
    const shape = spec.shape.map((dim) => (dim < 0 ? '?' : dim)).join(', ');
    throw new SkeinError(
      'TENSOR_INVALID',
      `${row.length} values given, \`${spec.name}\` [${shape}] takes ${width}`,
      {
        fix: 'Give one row of that many values for each sample.',
      },
    );
  }
  const data = viewOf(spec.type, new ArrayBuffer(width * 8), 0, width);
  for (let i = 0; i < width; i++)
    (data as unknown as unknown[])[i] = spec.type === 'int64' ? BigInt(row[i]!) : row[i]!;
  return { [spec.name]: { type: spec.type, dims: spec.shape.map((dim) => Math.max(1, dim)), data } };
}

const SHOWN = 10;

function describeRow(index: number, outputs: Tensors): TryRow {
  const row: TryRow = { sample: index };
  for (const [name, { data }] of Object.entries(outputs)) {
    const values = Array.from(data as Float32Array, Number);
    if (values.length > 1) {
      const best = argmax(values);
      row[`${name} top`] = best;
      row[`${name} value`] = values[best]!;
    }
    row[name] = values.length > SHOWN ? [...values.slice(0, SHOWN)] : values;
  }
  return row;
}

/** Numbers given one by one (`1 2 3`) are one row. */
async function tablesOf(inputs: readonly string[], width: number): Promise<SampleTable[]> {
  const scalars = inputs.length > 1 && inputs.every((text) => text !== '' && !Number.isNaN(Number(text)));
  return Promise.all((scalars ? [inputs.join(',')] : inputs).map((input) => readInput(input, width)));
}

async function tryOnnx(bytes: Uint8Array, inputs: readonly string[]): Promise<TryRow[]> {
  const session = await openModel(bytes);
  try {
    const [spec, ...others] = session.inputs;
    if (!spec || others.length > 0) {
      const names = session.inputs.map(({ name }) => name).join(', ');
      throw new SkeinError(
        'TENSOR_INVALID',
        `the model takes several inputs (${names}); try takes models with one`,
        { fix: 'Roll it out and ask the agent: POST /v2/models/NAME/infer takes several inputs.' },
      );
    }
    const rows = (await tablesOf(inputs, sampleWidth(spec))).flatMap((table) => table.rows);
    const answers: TryRow[] = [];
    for (const [i, row] of rows.entries())
      answers.push(describeRow(i, await session.run(tensorOf(spec, row))));
    return answers;
  } finally {
    await session.close();
  }
}

/** The device's own walk, from named readings to labels and scores. */
async function tryBundle(path: string, inputs: readonly string[]): Promise<TryRow[]> {
  const { manifest, blobs } = await readBundle(path);
  const session = await openModel(blobs.get(manifest.variants[0]!.file.sha256)!);
  try {
    const { features } = manifest.preprocess;
    const tables = await tablesOf(inputs, features.length);
    const answers: TryRow[] = [];
    for (const table of tables) answers.push(...(await walk(manifest, session, table)));
    return answers;
  } finally {
    await session.close();
  }
}

async function walk(
  manifest: Manifest,
  session: Pick<OnnxSession, 'run'>,
  table: SampleTable,
): Promise<TryRow[]> {
  const { features, window: shape, onMissing } = manifest.preprocess;
  const named = (row: Float64Array) =>
    rowOf(features, Object.fromEntries((table.columns ?? features).map((name, c) => [name, row[c]!])));
  const window = new RowWindow(shape);
  const answers: TryRow[] = [];
  for (const [i, raw] of table.rows.entries()) {
    if (raw.length !== (table.columns ?? features).length) {
      throw new SkeinError(
        'TENSOR_INVALID',
        `${raw.length} values given, the model takes ${features.length} features`,
        { fix: `Give them in this order: ${features.join(', ')}.` },
      );
    }
    const row = named(raw);
    if (onMissing === 'reject' && missingIn(row).length > 0) continue;
    const values = window.push(scaleRow(manifest.preprocess, row));
    if (!values) continue;
    const outputs = await session.run(inputTensors(manifest, values));
    const { label, score, alarm } = postprocess(manifest.postprocess, outputs, values);
    const truth = table.truth?.[i];
    answers.push({ sample: i, label, score, alarm, ...(truth === undefined ? {} : { truth }) });
  }
  return answers;
}

export async function runTry(model: string, inputs: readonly string[]): Promise<TryRow[]> {
  if (!model.endsWith('.onnx')) return tryBundle(model, inputs);
  return tryOnnx(await readModelFile(model), inputs);
}

/** @throws SkeinError MODEL_INVALID */
export const readModelFile = async (path: string): Promise<Uint8Array> => {
  try {
    return new Uint8Array(await readFile(path));
  } catch (cause) {
    throw new SkeinError('MODEL_INVALID', `${path} can not be read`, {
      fix: 'Check the path of the model.',
      cause,
    });
  }
};
