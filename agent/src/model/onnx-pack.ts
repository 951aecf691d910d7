/**
 * From a float ONNX model and recorded readings to a bundle: quantized, measured variant by variant, with golden
 * vectors of the float model and a drift profile. The order of the variants is the device's order of preference.
 */
import { asSkeinError, SkeinError } from '@skein/protocol/errors.ts';
import type { GoldenVectors, Manifest, Postprocess, Preprocess, Variant } from '@skein/protocol/manifest.ts';
import { featurePreprocess, inputCharts } from '@skein/protocol/manifest-pipeline.ts';
import type { Bytes } from '@skein/protocol/units.ts';
import type { Tensor, Tensors } from '../inference/backend.ts';
import type { Outcome } from '../pipeline/postprocess.ts';
import { tensorNumbers } from '../pipeline/tensor-numbers.ts';
import { type Bundle, hashOf, makeBundle } from './bundle.ts';
import { type Candidate, chooseVariants } from './choose-variants.ts';
import { goldenDifference, goldenFrom } from './golden.ts';
import { type Bounds, DEFAULT_BOUNDS } from './judge-quantized.ts';
import { openModel, type QuantizeOptions, type QuantizeReport, quantize, runAll } from './onnx-quantize.ts';
import {
  accuracyOf,
  type DriftRequest,
  outcomesOf,
  profileOf,
  type Sample,
  type Segment,
  samplesOf,
  thinned,
} from './pack-samples.ts';

export interface PackRequest {
  name: string;
  version: string;
  description: string;
  licence: string;
  /** The float model. */
  model: Uint8Array;
  preprocess: Preprocess;
  postprocess: Postprocess;
  /** What is calibrated and measured on; best not what the model was trained on. For models of features. */
  recording?: readonly Segment[];
  /** The same for models of pictures or tensors, made by the device's own preprocessing ({@link pictureSample}). */
  samples?: readonly Sample[];
  /** What drift is compared with; the recording itself when absent. */
  reference?: readonly Segment[];
  /** Known class of each reading of `recording`, in the order of all segments; then accuracy is measured instead of agreement. */
  truth?: readonly string[];
  /** false: float only. */
  int8: false | Int8Request;
  /** A float16 variant as well. */
  fp16?: boolean;
  bounds?: Partial<Bounds>;
  /** Ids of variants that come first, whatever was measured: then the same inputs always give the same bytes. */
  order?: readonly string[];
  /** Files that only other backends can read; preferred where they run, and not tried here. */
  opaque?: readonly OpaqueVariant[];
  drift: null | DriftRequest;
  trainedFrom: readonly string[];
  onProgress?(done: number, total: number, what: string): void;
}

export type Int8Request = Omit<QuantizeOptions, 'mode' | 'bounds' | 'labels' | 'onProgress'>;

/** What is not told of an opaque variant is taken from the others. */
export type OpaqueVariant = Omit<Variant, 'file' | 'tolerance'> & { bytes: Uint8Array; tolerance?: number };

export interface PackReport {
  windows: number;
  variants: {
    id: string;
    sizeBytes: Bytes;
    accuracy: number | null;
    tolerance: number;
    p50Us: number | null;
  }[];
  /** Variants that were made and not packed, with the reasons. */
  left: { id: string; reasons: string[] }[];
  notes: string[];
  quantization: QuantizeReport | null;
}

const CALIBRATION_SAMPLES = 1_000;
const EVALUATED_SAMPLES = 20_000;
const GOLDEN_VECTORS = 8;
/** Other processors round otherwise in the last digits of float, and in the last step of int8. */
const FLOAT_TOLERANCE = 1e-4;
const ROUNDED_SLACK = 2;

const GOLDEN_BYTES: Bytes = 16 << 20;
/** Values of all golden vectors together, unless one alone has more: they are text in the bundle. */
const GOLDEN_VALUES = 400_000;

/** Four digits: pictures are as real as before, and a third as long in JSON. */
const shortened = ({ type, dims, data }: Tensor): Tensor =>
  data instanceof Float32Array
    ? { type, dims, data: data.map((value) => Number(value.toPrecision(4))) }
    : { type, dims, data };

const valuesIn = (tensors: Tensors): number =>
  Object.values(tensors).reduce((sum, { data }) => sum + data.length, 0);

/** Few of many values, so that the bundle stays small. @param outputs of one sample */
function goldenSamples({ kind }: Preprocess, samples: readonly Sample[], outputs: Tensors): Sample[] {
  const values = valuesIn(samples[0]!.inputs) + valuesIn(outputs);
  const most = Math.max(1, Math.min(GOLDEN_VECTORS, Math.floor(GOLDEN_VALUES / values)));
  const chosen = thinned(samples, most);
  if (kind !== 'image') return chosen;
  return chosen.map((sample) => ({
    ...sample,
    inputs: Object.fromEntries(
      Object.entries(sample.inputs).map(([name, tensor]) => [name, shortened(tensor)]),
    ),
  }));
}

/** What every variant is measured on, and the float model's own answers. */
interface Measure {
  request: PackRequest;
  samples: Sample[];
  inputs: Tensors[];
  float: Outcome[];
  golden: GoldenVectors;
  goldenInputs: Tensors[];
  floatTolerance: number;
}

interface Made {
  variant: Variant;
  bytes: Uint8Array;
  outcomes: Outcome[];
  /** Absent for the float model. */
  report?: QuantizeReport;
}

const largestIn = (tensor: Tensors[string]): number => {
  const values = tensorNumbers(tensor);
  let most = 0;
  for (let i = 0; i < values.length; i++) most = Math.max(most, Math.abs(values[i]!));
  return most;
};
const largestOf = (outputs: readonly Tensors[]): number =>
  Math.max(...outputs.flatMap((tensors) => Object.values(tensors).map(largestIn)));

async function measureFloat(request: PackRequest, all: readonly Sample[]): Promise<Measure> {
  const samples = thinned(all, EVALUATED_SAMPLES);
  const inputs = samples.map((sample) => sample.inputs);
  const outputs = await runAll(request.model, inputs);
  const chosen = goldenSamples(request.preprocess, samples, outputs[0]!);
  const goldenInputs = chosen.map((sample) => sample.inputs);
  const goldenOutputs = await runAll(request.model, goldenInputs);
  return {
    request,
    samples,
    inputs,
    float: outcomesOf(request.postprocess, samples, outputs),
    golden: goldenFrom(goldenInputs, goldenOutputs),
    goldenInputs,
    floatTolerance: FLOAT_TOLERANCE * Math.max(1, largestOf(outputs)),
  };
}

const variantOf = (
  precision: Variant['precision'],
  bytes: Uint8Array,
  tolerance: number,
  accuracy: number,
): Variant => ({
  id: precision,
  precision,
  backend: 'onnxruntime',
  file: { sha256: hashOf(bytes), size: bytes.length },
  tolerance,
  accuracy,
});

const floatVariant = ({ request, samples, float, floatTolerance }: Measure): Made => ({
  variant: variantOf('fp32', request.model, floatTolerance, accuracyOf(samples, float, float)),
  bytes: request.model,
  outcomes: float,
});

/** The argmax of what is no class says nothing. */
const boundsOf = ({ bounds, postprocess }: PackRequest): Bounds => ({
  ...DEFAULT_BOUNDS,
  ...(postprocess.kind === 'classify' ? {} : { minAgreement: 0 }),
  ...bounds,
});

/** Positions of the known classes, for the quantizer's own measure. */
function positionsOf({ postprocess: post }: PackRequest, samples: readonly Sample[]): (number | undefined)[] {
  const labels = post.kind === 'classify' ? post.labels : [];
  return samples.map(({ truth }) => {
    const at = truth === undefined ? -1 : labels.indexOf(truth);
    return at < 0 ? undefined : at;
  });
}

async function smallerVariant(
  measure: Measure,
  precision: 'int8' | 'fp16',
  options: QuantizeOptions,
): Promise<Made> {
  const { request, samples, inputs, float, golden, goldenInputs } = measure;
  const { onProgress } = request;
  const calibration = thinned(samples, CALIBRATION_SAMPLES);
  const { bytes, report } = await quantize(
    request.model,
    calibration.map((sample) => sample.inputs),
    {
      ...options,
      mode: precision === 'int8' ? 'static' : 'fp16',
      bounds: boundsOf(request),
      labels: positionsOf(request, calibration),
      ...(onProgress ? { onProgress } : {}),
    },
  );
  const outcomes = outcomesOf(request.postprocess, samples, await runAll(bytes, inputs));
  const found = await runAll(bytes, goldenInputs);
  const difference = Math.max(...golden.vectors.map((vector, i) => goldenDifference(vector, found[i]!)));
  const tolerance = ROUNDED_SLACK * difference + measure.floatTolerance;
  return {
    variant: variantOf(precision, bytes, tolerance, accuracyOf(samples, outcomes, float)),
    bytes,
    outcomes,
    report,
  };
}

interface Chosen extends Pick<PackReport, 'left' | 'notes'> {
  made: Made[];
  report: QuantizeReport | null;
}

/** All that can be made, then those that are good enough. A model that can not be made smaller is packed in float. */
async function makeVariants(measure: Measure): Promise<Chosen> {
  const { request, samples } = measure;
  const all = [floatVariant(measure)];
  const refused: PackReport['left'] = [];
  const wanted = [...(request.int8 ? ['int8' as const] : []), ...(request.fp16 ? ['fp16' as const] : [])];
  for (const precision of wanted) {
    try {
      all.push(await smallerVariant(measure, precision, request.int8 || {}));
    } catch (thrown) {
      const { code, message, fix } = asSkeinError(thrown);
      if (code !== 'MODEL_INVALID') throw thrown;
      refused.push({ id: precision, reasons: [fix ? `${message}: ${fix}` : message] });
    }
  }
  const known = samples.some(({ truth }) => truth !== undefined);
  const { packed, notes, left } = chooseVariants(all.map(candidateOf), {
    bounds: boundsOf(request),
    float: { accuracy: all[0]!.variant.accuracy!, known },
    ...(request.order ? { order: request.order } : {}),
  });
  const made = packed.map((id) => all.find(({ variant }) => variant.id === id)!);
  const report = made.find(({ variant }) => variant.precision === 'int8')?.report ?? null;
  return { made, notes, left: [...refused, ...left], report };
}

const candidateOf = ({ variant: { id, accuracy }, report }: Made): Candidate => ({
  id,
  accuracy: accuracy!,
  ...(report
    ? {
        measured: {
          ...report,
          p50Ms: { float: report.p50Us.float / 1000, quantized: report.p50Us.int8 / 1000 },
        },
      }
    : {}),
});

/** Preferred where its backend is; its answers may differ as those of the least exact variant do, unless told otherwise. */
const opaqueVariant = ({ bytes, ...given }: OpaqueVariant, made: readonly Made[]): Variant => ({
  ...given,
  file: { sha256: hashOf(bytes), size: bytes.length },
  tolerance: given.tolerance ?? Math.max(...made.map(({ variant }) => variant.tolerance)),
});

const provenanceOf = (report: QuantizeReport): NonNullable<Manifest['quantization']> => ({
  method: report.method,
  scheme: 'QDQ u8s8 per channel',
  sqnr_db: Math.min(200, Math.round(report.sqnrDb * 100) / 100),
  agreement: report.agreement,
  int8_nodes: report.int8Nodes.length,
  float_nodes: report.floatNodes.length,
});

function driftOf(
  { preprocess, recording, reference }: PackRequest,
  drift: DriftRequest,
  samples: readonly Sample[],
  outcomes: readonly Outcome[],
): Manifest['drift'] {
  if (preprocess.kind === 'tensor') return null;
  const rows = samples.flatMap(({ row }) => row ?? []);
  const inTime = preprocess.kind === 'features';
  return profileOf(drift, inputCharts(preprocess), reference ?? recording ?? [rows], outcomes, inTime);
}

function manifestOf(
  request: PackRequest,
  samples: readonly Sample[],
  specs: Pick<Manifest, 'inputs' | 'outputs'>,
  variants: Variant[],
  outcomes: readonly Outcome[],
  goldenBytes: Uint8Array,
  report: QuantizeReport | null,
): Manifest {
  const { name, version, description, licence, preprocess, postprocess, drift } = request;
  return {
    format: 1,
    name,
    version,
    description,
    licence,
    ...specs,
    preprocess,
    postprocess,
    variants,
    golden: { sha256: hashOf(goldenBytes), size: goldenBytes.length },
    drift: drift && driftOf(request, drift, samples, outcomes),
    needs: { memoryBytes: 32 * 1024 * 1024 + 8 * request.model.length, tags: [] },
    quantization: report && provenanceOf(report),
    lineage: { trainedFrom: [...request.trainedFrom] },
  };
}

/** Devices read at most 16 MiB of golden vectors. @throws SkeinError MODEL_INVALID */
function goldenBlob(golden: GoldenVectors): Uint8Array {
  const bytes = new TextEncoder().encode(JSON.stringify(golden));
  if (bytes.length <= GOLDEN_BYTES) return bytes;
  throw new SkeinError(
    'MODEL_INVALID',
    `one golden vector has ${bytes.length} bytes, at most 16 MiB are carried`,
    {
      fix: 'Give the model fewer outputs, or smaller ones.',
    },
  );
}

/** @throws SkeinError MODEL_INVALID, MANIFEST_INVALID */
export async function packModel(request: PackRequest): Promise<{ bundle: Bundle; report: PackReport }> {
  const session = await openModel(request.model);
  const specs = { inputs: [...session.inputs], outputs: [...session.outputs] };
  await session.close();
  const all =
    request.samples ??
    samplesOf(specs.inputs, featurePreprocess(request.preprocess), request.recording ?? [], request.truth);
  if (all.length === 0) {
    throw new SkeinError('MODEL_INVALID', 'the calibration data gives no complete sample', {
      fix: 'Give more rows, or a smaller window.',
    });
  }
  const measure = await measureFloat(request, all);
  const { made, notes, left, report: quantization } = await makeVariants(measure);
  const opaque = (request.opaque ?? []).map((given) => opaqueVariant(given, made));
  const goldenBytes = goldenBlob(measure.golden);
  const variants = [...opaque, ...made.map(({ variant }) => variant)];
  const manifest = manifestOf(request, all, specs, variants, made[0]!.outcomes, goldenBytes, quantization);
  const blobs = [...(request.opaque ?? []), ...made].map(({ bytes }) => bytes);
  const speeds = new Map(
    made.flatMap(({ variant: { id }, report }) => (report ? [[id, report.p50Us.int8]] : [])),
  );
  const floatUs = made.flatMap(({ report }) => report?.p50Us.float ?? [])[0] ?? null;
  return {
    bundle: makeBundle(manifest, [...blobs, goldenBytes]),
    report: {
      windows: all.length,
      variants: variants.map(({ id, file, accuracy, tolerance }) => ({
        id,
        sizeBytes: file.size,
        accuracy,
        tolerance,
        p50Us: id === 'fp32' ? floatUs : (speeds.get(id) ?? null),
      })),
      left,
      notes,
      quantization,
    },
  };
}
