/** `skein-model pack`: from a float ONNX file and data to a bundle. */
import { readFile } from 'node:fs/promises';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { FeaturePreprocess, Postprocess, Preprocess, TensorSpec } from '@skein/protocol/manifest.ts';
import { openData } from './data/disk-data.ts';
import { readFed, readTable } from './data/disk-fed.ts';
import { sampleWidth } from './data/tensors-of.ts';
import { writeBundle, writeBundleArchive } from './disk-bundle.ts';
import { readModelFile } from './disk-model.ts';
import type { Bounds } from './judge-quantized.ts';
import { type OpaqueVariant, type PackReport, packModel } from './onnx-pack.ts';
import { openModel, runAll } from './onnx-quantize.ts';
import { type PostprocessOptions, postprocessFrom } from './pack-postprocess.ts';
import { type Sample, type Segment, samplesOf, thinned } from './pack-samples.ts';

export interface PackCommand {
  name: string;
  version: string;
  calibrate: string;
  out: string;
  description: string;
  licence: string;
  /** From a file; else made from the options below. */
  preprocess?: Preprocess;
  window: number;
  stride: number;
  scale: boolean;
  onMissing: FeaturePreprocess['onMissing'];
  /** As it is in the manifest, or what it is made from. */
  postprocess: { file: Postprocess } | { options: PostprocessOptions };
  truth?: string;
  truthColumn?: string;
  int8: boolean;
  fp16: boolean;
  order: string[];
  bounds: Partial<Bounds>;
  skip: string[];
  reduceRange: boolean;
  opaque: (Omit<OpaqueVariant, 'bytes'> & { path: string })[];
  driftWindow: number;
  rate: number;
  trainedFrom: string[];
}

/** What a model is packed on, walked as the device will. */
interface Data {
  preprocess: Preprocess;
  samples: readonly Sample[];
  recording?: readonly Segment[];
  notes: string[];
}

type Specs = Record<'inputs' | 'outputs', readonly TensorSpec[]>;

const CLIP = 10;
/** A manifest names at most so many features. */
const MOST_FEATURES = 1024;
const UNIT_SAMPLES = 20_000;

function scalingOf(rows: readonly Float64Array[], width: number): NonNullable<FeaturePreprocess['scaling']> {
  const columns = Array.from({ length: width }, (_, c) => rows.map((row) => row[c]!).filter(Number.isFinite));
  const offset = columns.map((values) => values.reduce((sum, v) => sum + v, 0) / Math.max(1, values.length));
  const scale = columns.map((values, c) => {
    const variance = values.reduce((sum, v) => sum + (v - offset[c]!) ** 2, 0) / Math.max(1, values.length);
    return Math.sqrt(variance) || 1;
  });
  return { offset, scale, clip: CLIP };
}

/** Features where the model can have them; else its tensors as they are, for the API. */
async function kindOfData(options: PackCommand, { inputs }: Specs): Promise<'features' | 'tensor'> {
  const [input, ...others] = inputs;
  const { calibrate } = options;
  if (others.length > 0 || input!.type !== 'float32') return 'tensor';
  const data = await openData(calibrate, { width: sampleWidth(input!) });
  for await (const entry of data.samples()) {
    if ('problem' in entry) throw entry.problem;
    if (entry.content.kind === 'picture')
      throw new SkeinError('SOURCE_INVALID', `${calibrate} holds pictures`, {
        fix: 'Say how they become the model’s tensor: --preprocess FILE.',
      });
    if (entry.content.kind === 'named') return 'tensor';
    break;
  }
  return sampleWidth(input!) / options.window > MOST_FEATURES ? 'tensor' : 'features';
}

/** One tensor of features, from a table of numbers. @throws SkeinError TENSOR_INVALID, SOURCE_INVALID */
async function featureData(options: PackCommand, { inputs }: Specs): Promise<Data> {
  const given = options.preprocess?.kind === 'features' ? options.preprocess : undefined;
  const width = given ? given.features.length : sampleWidth(inputs[0]!) / options.window;
  const { calibrate, truth, truthColumn } = options;
  const table = await readTable(calibrate, { width, truth, truthColumn });
  const columns = [
    ...(table.columns ?? given?.features ?? Array.from({ length: width }, (_, i) => `x${i + 1}`)),
  ];
  const lacking = given?.features.find((name) => !columns.includes(name));
  if (lacking !== undefined || (!given && columns.length !== width)) {
    const found = lacking ? `no column \`${lacking}\`` : `${columns.length} columns`;
    throw new SkeinError(
      'TENSOR_INVALID',
      `${calibrate} has ${found}, the model takes ${width} features a reading`,
      {
        fix: 'Give the columns in the order of the model’s input; check --window.',
      },
    );
  }
  const order = given?.features.map((name) => columns.indexOf(name));
  const rows = order ? table.rows.map((row) => Float64Array.from(order, (c) => row[c]!)) : table.rows;
  const preprocess: FeaturePreprocess = given ?? {
    kind: 'features',
    features: columns,
    ...(options.scale ? { scaling: scalingOf(rows, width) } : {}),
    window: { size: options.window, stride: options.stride, padding: 'edge' },
    onMissing: options.onMissing,
  };
  return {
    preprocess,
    samples: samplesOf(inputs, preprocess, [rows], table.truth),
    recording: [rows],
    notes: [],
  };
}

async function dataFor(options: PackCommand, specs: Specs): Promise<Data> {
  const kind = options.preprocess?.kind ?? (await kindOfData(options, specs));
  if (kind === 'features') return featureData(options, specs);
  const preprocess = options.preprocess ?? { kind: 'tensor' };
  const { calibrate, truth, truthColumn } = options;
  const { samples, total } = await readFed(calibrate, specs.inputs, { preprocess, truth, truthColumn });
  const fewer =
    samples.length < total ? [`${samples.length} of ${total} samples were used, evenly spaced`] : [];
  const tensors =
    'only the API can feed this model: its inputs are packed as tensors, not as features or pictures';
  return {
    preprocess,
    samples,
    notes: [...fewer, ...(kind === 'tensor' && !options.preprocess ? [tensors] : [])],
  };
}

/** Data that number their classes mean the labels of these numbers. */
function named(samples: readonly Sample[], post: Postprocess): Sample[] {
  if (!('labels' in post)) return [...samples];
  return samples.map((sample) => {
    const { truth } = sample;
    const byNumber =
      truth !== undefined && !post.labels.includes(truth) ? post.labels[Number(truth)] : undefined;
    return byNumber === undefined ? sample : { ...sample, truth: byNumber };
  });
}

async function opaqueFiles(options: PackCommand): Promise<OpaqueVariant[]> {
  return Promise.all(
    options.opaque.map(async ({ path, ...variant }) => {
      const bytes = await readFile(path).catch((cause: unknown) => {
        throw new SkeinError('MODEL_INVALID', `${path} can not be read`, { fix: 'Check its path.', cause });
      });
      return { ...variant, bytes: new Uint8Array(bytes) };
    }),
  );
}

async function specsOf(model: Uint8Array): Promise<Specs> {
  const session = await openModel(model);
  await session.close();
  return { inputs: session.inputs, outputs: session.outputs };
}

export async function runPack(
  path: string,
  options: PackCommand,
  onProgress: (done: number, total: number, what: string) => void,
): Promise<PackReport> {
  const model = await readModelFile(path);
  const specs = await specsOf(model);
  const data = await dataFor(options, specs);
  const chosen = thinned(data.samples, UNIT_SAMPLES);
  const run = async (output: string) =>
    (
      await runAll(
        model,
        chosen.map(({ inputs }) => inputs),
      )
    ).map((tensors) => tensors[output]!);
  const given = options.postprocess;
  const post =
    'file' in given
      ? given.file
      : await postprocessFrom(given.options, specs.inputs, specs.outputs, chosen, run);
  const { name, version, description, licence, order, bounds, fp16, trainedFrom, driftWindow, rate } =
    options;
  const { bundle, report } = await packModel({
    ...{ name, version, description, licence, model, bounds, fp16, trainedFrom, onProgress },
    preprocess: data.preprocess,
    postprocess: post,
    samples: named(data.samples, post),
    ...(data.recording ? { recording: data.recording } : {}),
    int8: options.int8 ? { skip: options.skip, reduceRange: options.reduceRange } : false,
    order,
    opaque: await opaqueFiles(options),
    drift:
      driftWindow > 0 && data.preprocess.kind !== 'tensor'
        ? { window: driftWindow, readingsPerSecond: rate }
        : null,
  });
  if (options.out.endsWith('.skein')) await writeBundleArchive(bundle, options.out);
  else await writeBundle(bundle, options.out);
  return { ...report, notes: [...data.notes, ...report.notes] };
}
