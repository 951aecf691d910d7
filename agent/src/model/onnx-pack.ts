/**
 * From a float ONNX model and recorded readings to a bundle: quantized, measured variant by variant, with golden
 * vectors of the float model and a drift profile. The order of the variants is the device's order of preference.
 */
import { SkeinError } from '@skein/protocol/errors.ts';
import type { GoldenVectors, Manifest, Postprocess, Preprocess, Variant } from '@skein/protocol/manifest.ts';
import { featurePreprocess, inputCharts } from '@skein/protocol/manifest-pipeline.ts';
import type { Bytes } from '@skein/protocol/units.ts';
import type { Tensor, Tensors } from '../inference/backend.ts';
import type { Outcome } from '../pipeline/postprocess.ts';
import { tensorNumbers } from '../pipeline/tensor-numbers.ts';
import { type Bundle, hashOf, makeBundle } from './bundle.ts';
import { goldenDifference, goldenFrom } from './golden.ts';
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
  drift: null | DriftRequest;
  trainedFrom: readonly string[];
  onProgress?(done: number, total: number, what: string): void;
}

export interface Int8Request extends QuantizeOptions {
  /** `faster` (default): int8 comes first only where it measured faster here; the device measures again. */
  prefer?: 'int8' | 'faster';
  /** Below this share of the float model's accuracy the int8 variant is left out. */
  leastAgreement?: number;
}

export interface PackReport {
  windows: number;
  variants: { id: string; sizeBytes: Bytes; accuracy: number | null; tolerance: number }[];
  quantization: QuantizeReport | null;
}

const CALIBRATION_SAMPLES = 1_000;
const EVALUATED_SAMPLES = 20_000;
const GOLDEN_VECTORS = 8;
const LEAST_AGREEMENT = 0.98;
/** Other processors round otherwise in the last digits of float, and in the last step of int8. */
const FLOAT_TOLERANCE = 1e-4;
const INT8_SLACK = 2;

/** Values of all golden inputs together, unless one alone has more: they are text in the bundle. */
const GOLDEN_VALUES = 400_000;

/** Four digits: pictures are as real as before, and a third as long in JSON. */
const shortened = ({ type, dims, data }: Tensor): Tensor =>
  data instanceof Float32Array
    ? { type, dims, data: data.map((value) => Number(value.toPrecision(4))) }
    : { type, dims, data };

/** Few of many values, so that the bundle stays small. */
function goldenSamples({ kind }: Preprocess, samples: readonly Sample[]): Sample[] {
  const values = Object.values(samples[0]!.inputs).reduce((sum, { data }) => sum + data.length, 0);
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
  const chosen = goldenSamples(request.preprocess, samples);
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
  precision: 'fp32' | 'int8',
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

async function int8Variant(
  measure: Measure,
  options: QuantizeOptions,
): Promise<Made & { report: QuantizeReport }> {
  const { request, samples, inputs, float, golden, goldenInputs } = measure;
  const { onProgress } = request;
  const { bytes, report } = await quantize(request.model, thinned(inputs, CALIBRATION_SAMPLES), {
    ...options,
    ...(onProgress ? { onProgress } : {}),
  });
  const outcomes = outcomesOf(request.postprocess, samples, await runAll(bytes, inputs));
  const found = await runAll(bytes, goldenInputs);
  const difference = Math.max(...golden.vectors.map((vector, i) => goldenDifference(vector, found[i]!)));
  const tolerance = INT8_SLACK * difference + measure.floatTolerance;
  return {
    variant: variantOf('int8', bytes, tolerance, accuracyOf(samples, outcomes, float)),
    bytes,
    outcomes,
    report,
  };
}

/** In order of preference; an int8 variant that costs too much accuracy is left out. */
function ranked(float: Made, int8: Made & { report: QuantizeReport }, wanted: Int8Request): Made[] {
  const least = (wanted.leastAgreement ?? LEAST_AGREEMENT) * float.variant.accuracy!;
  if (int8.variant.accuracy! < least) return [float];
  const { p50Us } = int8.report;
  const first = wanted.prefer === 'int8' || p50Us.int8 <= p50Us.float;
  return first ? [int8, float] : [float, int8];
}

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
  made: readonly Made[],
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
    variants: made.map(({ variant }) => variant),
    golden: { sha256: hashOf(goldenBytes), size: goldenBytes.length },
    drift: drift && driftOf(request, drift, samples, made[0]!.outcomes),
    needs: { memoryBytes: 32 * 1024 * 1024 + 8 * request.model.length, tags: [] },
    quantization: report && provenanceOf(report),
    lineage: { trainedFrom: [...request.trainedFrom] },
  };
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
  const float = floatVariant(measure);
  const int8 = request.int8 ? await int8Variant(measure, request.int8) : undefined;
  const made = request.int8 && int8 ? ranked(float, int8, request.int8) : [float];
  const goldenBytes = new TextEncoder().encode(JSON.stringify(measure.golden));
  const quantization = int8?.report ?? null;
  const manifest = manifestOf(request, all, specs, made, goldenBytes, quantization);
  const variants = made.map(({ variant: { id, file, accuracy, tolerance } }) => ({
    id,
    sizeBytes: file.size,
    accuracy,
    tolerance,
  }));
  return {
    bundle: makeBundle(manifest, [...made.map(({ bytes }) => bytes), goldenBytes]),
    report: { windows: all.length, variants, quantization },
  };
}
