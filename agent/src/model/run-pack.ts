/** `skein-model pack`: from a float ONNX file and data to a bundle. */
import { readFile } from 'node:fs/promises';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { FeaturePreprocess, Postprocess, TensorSpec } from '@skein/protocol/manifest.ts';
import { readTable, type SampleTable } from './data/disk-fed.ts';
import { sampleWidth, tensorFrom } from './data/tensors-of.ts';
import { writeBundle, writeBundleArchive } from './disk-bundle.ts';
import { readModelFile } from './disk-model.ts';
import { type PackReport, packModel } from './onnx-pack.ts';
import { openModel } from './onnx-quantize.ts';

/** What can be made from a table of numbers and a few options. */
type Kind = 'classify' | 'reconstruction' | 'regress';

export interface PackCommand {
  name: string;
  version: string;
  calibrate: string;
  out: string;
  description: string;
  licence: string;
  window: number;
  stride: number;
  scale: boolean;
  onMissing: FeaturePreprocess['onMissing'];
  postprocess?: Kind;
  labels?: string;
  alarmLabels?: string;
  softmax: boolean;
  threshold: number;
  low?: number;
  high?: number;
  int8: boolean;
  preferInt8: boolean;
  skip: string[];
  reduceRange: boolean;
  driftWindow: number;
  rate: number;
  trainedFrom: string[];
}

/** `a,b,c`, or a file with one label a line. */
async function labelsOf(given: string | undefined, count: number): Promise<string[]> {
  if (!given) return Array.from({ length: count }, (_, i) => `class ${i}`);
  const text = given.includes(',')
    ? given.split(',').join('\n')
    : await readFile(given, 'utf8').catch(() => given);
  const labels = text
    .split('\n')
    .map((label) => label.trim())
    .filter(Boolean);
  if (labels.length !== count) {
    throw new SkeinError(
      'MANIFEST_INVALID',
      `${labels.length} labels given, the model has ${count} classes`,
      {
        fix: 'Give one label for each class, in the order of the output.',
      },
    );
  }
  return labels;
}

const quantile = (values: number[], q: number): number =>
  values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(q * values.length))]!;

function scalingOf(rows: readonly Float64Array[], width: number): NonNullable<FeaturePreprocess['scaling']> {
  const columns = Array.from({ length: width }, (_, c) => rows.map((row) => row[c]!).filter(Number.isFinite));
  const offset = columns.map((values) => values.reduce((sum, v) => sum + v, 0) / Math.max(1, values.length));
  const scale = columns.map((values, c) => {
    const variance = values.reduce((sum, v) => sum + (v - offset[c]!) ** 2, 0) / Math.max(1, values.length);
    return Math.sqrt(variance) || 1;
  });
  return { offset, scale, clip: 10 };
}

/** What the model's output is, when nobody says: its own input again, classes, or one number. */
function kindOf(input: TensorSpec, output: TensorSpec): Kind {
  const width = sampleWidth(output);
  return width === sampleWidth(input) ? 'reconstruction' : width === 1 ? 'regress' : 'classify';
}

/** The reconstruction error that 99.9% of the calibration data stay below becomes score 1. */
async function unitOf(
  model: Uint8Array,
  input: TensorSpec,
  output: string,
  windows: readonly Float64Array[],
): Promise<number> {
  const session = await openModel(model);
  const inputsOf = (values: Float64Array) => ({
    [input.name]: tensorFrom('a window', input, { shape: [values.length], values }),
  });
  const errors: number[] = [];
  for (const window of windows) {
    const values = (await session.run(inputsOf(window)))[output]!.data as Float32Array;
    errors.push(values.reduce((sum, value, i) => sum + (value - window[i]!) ** 2, 0) / values.length);
  }
  await session.close();
  return quantile(errors, 0.999) || 1;
}

/** Windows of scaled rows, for the unit only; edge padding does not matter for a 99.9th percentile. */
function plainWindows(table: SampleTable, preprocess: FeaturePreprocess): Float64Array[] {
  const { offset, scale } = preprocess.scaling ?? { offset: undefined, scale: undefined };
  const rows = table.rows.map((row) => row.map((v, c) => (scale ? (v - offset![c]!) / scale[c]! : v)));
  const size = preprocess.window.size;
  return rows
    .slice(size - 1)
    .map((_, i) => Float64Array.from(rows.slice(i, i + size).flatMap((row) => [...row])));
}

async function postprocessFor(
  options: PackCommand,
  model: Uint8Array,
  input: TensorSpec,
  output: TensorSpec,
  table: SampleTable,
  preprocess: FeaturePreprocess,
): Promise<Postprocess> {
  const kind = options.postprocess ?? kindOf(input, output);
  if (kind === 'regress') {
    return { kind, output: output.name, low: options.low ?? null, high: options.high ?? null };
  }
  if (kind === 'reconstruction') {
    const unit = await unitOf(model, input, output.name, plainWindows(table, preprocess));
    return { kind, output: output.name, unit, threshold: options.threshold };
  }
  const labels = await labelsOf(options.labels, sampleWidth(output));
  const alarmLabels = (options.alarmLabels ?? '').split(',').filter(Boolean);
  return { kind, output: output.name, softmax: options.softmax, labels, alarmLabels };
}

export async function runPack(
  path: string,
  options: PackCommand,
  onProgress: (done: number, total: number, what: string) => void,
): Promise<PackReport> {
  const model = await readModelFile(path);
  const session = await openModel(model);
  const [input] = session.inputs;
  const [output] = session.outputs;
  await session.close();
  const width = sampleWidth(input!) / options.window;
  const table = await readTable(options.calibrate, { width });
  const columns = [...(table.columns ?? Array.from({ length: width }, (_, i) => `x${i + 1}`))];
  if (columns.length !== width) {
    throw new SkeinError(
      'TENSOR_INVALID',
      `${options.calibrate} has ${columns.length} columns, the model takes ${width} features a reading`,
      { fix: 'Give the columns in the order of the model’s input; check --window.' },
    );
  }
  const preprocess: FeaturePreprocess = {
    kind: 'features',
    features: columns,
    ...(options.scale ? { scaling: scalingOf(table.rows, width) } : {}),
    window: { size: options.window, stride: options.stride, padding: 'edge' },
    onMissing: options.onMissing,
  };
  const { bundle, report } = await packModel({
    name: options.name,
    version: options.version,
    description: options.description,
    licence: options.licence,
    model,
    preprocess,
    postprocess: await postprocessFor(options, model, input!, output!, table, preprocess),
    recording: [table.rows],
    ...(table.truth ? { truth: table.truth } : {}),
    int8: options.int8
      ? {
          skip: options.skip,
          reduceRange: options.reduceRange,
          prefer: options.preferInt8 ? 'int8' : 'faster',
        }
      : false,
    drift: options.driftWindow > 0 ? { window: options.driftWindow, readingsPerSecond: options.rate } : null,
    trainedFrom: options.trainedFrom,
    onProgress,
  });
  if (options.out.endsWith('.skein')) await writeBundleArchive(bundle, options.out);
  else await writeBundle(bundle, options.out);
  return report;
}
