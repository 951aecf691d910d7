/**
 * From a float ONNX model and recorded readings to a bundle. Readings go through the device's own window and
 * preprocessing, so what is calibrated, compared and charted here is what the model will see there.
 */
import { differences, makeProfile } from '@skein/protocol/drift/profile.ts';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { DriftProfile, Manifest, Postprocess, Preprocess, Variant } from '@skein/protocol/manifest.ts';
import type { Tensors } from '../inference/backend.ts';
import { type Outcome, postprocess } from '../pipeline/postprocess.ts';
import { inputTensors, missingIn, scaleRow } from '../pipeline/preprocess.ts';
import { RowWindow } from '../pipeline/window.ts';
import { type Bundle, hashOf, makeBundle } from './bundle.ts';
import { goldenDifference, goldenFrom } from './golden.ts';
import { openModel, type QuantizeOptions, type QuantizeReport, quantize, runAll } from './onnx-quantize.ts';

/** Rows of raw features, NaN where missing, in order of time and without gaps. */
export type Segment = readonly Float64Array[];

export interface PackRequest {
  name: string;
  version: string;
  description: string;
  licence: string;
  /** The float model. */
  model: Uint8Array;
  preprocess: Preprocess;
  postprocess: Postprocess;
  /** What is calibrated and measured on; best not what the model was trained on. */
  recording: readonly Segment[];
  /** What drift is compared with; the recording itself when absent. */
  reference?: readonly Segment[];
  /** Known class of each reading, in the order of all segments; then accuracy is measured instead of agreement. */
  truth?: readonly string[];
  /** false: float only. */
  int8: false | (QuantizeOptions & { prefer?: 'int8' | 'faster'; leastAgreement?: number });
  drift: null | { window: number; readingsPerSecond: number };
  trainedFrom: readonly string[];
  onProgress?(done: number, total: number, what: string): void;
}

export interface PackReport {
  windows: number;
  variants: { id: string; sizeBytes: number; accuracy: number | null; tolerance: number }[];
  quantization: QuantizeReport | null;
}

const CALIBRATION_SAMPLES = 1000;
const EVALUATED_SAMPLES = 20_000;
const GOLDEN_VECTORS = 8;
const MONTH_SECONDS = 30 * 86_400;

interface Sample {
  input: Tensors;
  window: Float32Array;
  truth: string | undefined;
}

/** The device's way from rows to tensors; a new segment starts a new window. */
function samplesOf(request: PackRequest, manifest: Pick<Manifest, 'inputs'>): Sample[] {
  const { preprocess, recording, truth } = request;
  const samples: Sample[] = [];
  let reading = 0;
  for (const segment of recording) {
    const windows = new RowWindow(preprocess.window);
    for (const row of segment) {
      const known = truth?.[reading++];
      if (preprocess.onMissing === 'reject' && missingIn(row).length > 0) continue;
      const window = windows.push(scaleRow(preprocess, row));
      if (window) samples.push({ input: inputTensors(manifest as Manifest, window), window, truth: known });
    }
  }
  return samples;
}

const thinned = <T>(items: readonly T[], most: number): T[] =>
  items.length <= most
    ? [...items]
    : Array.from({ length: most }, (_, i) => items[Math.floor((i * items.length) / most)]!);

const outcomesOf = (post: Postprocess, samples: readonly Sample[], outputs: readonly Tensors[]): Outcome[] =>
  outputs.map((output, i) => postprocess(post, output, samples[i]!.window));

/** With known classes accuracy on them, else the share of equal labels with the float model. */
function accuracyOf(samples: readonly Sample[], own: readonly Outcome[], float: readonly Outcome[]): number {
  const known = samples.some(({ truth }) => truth !== undefined);
  const right = own.filter(({ label }, i) => label === (known ? samples[i]!.truth : float[i]!.label)).length;
  return own.length === 0 ? 1 : right / own.length;
}

function driftOf(request: PackRequest, outcomes: readonly Outcome[]): DriftProfile | null {
  if (!request.drift) return null;
  const segments = request.reference ?? request.recording;
  const joined = (of: (segment: Segment) => Float64Array) =>
    Float64Array.from(segments.flatMap((segment) => [...of(segment)]));
  const features = request.preprocess.features.flatMap((name, column) => {
    const valuesOf = (segment: Segment) => Float64Array.from(segment, (row) => row[column]!);
    return [
      { name, values: joined(valuesOf) },
      { name: `${name}:diff`, values: joined((segment) => differences(valuesOf(segment))) },
    ];
  });
  const outputs = Object.keys(outcomes[0]?.charts ?? {}).map((name) => ({
    name,
    values: Float64Array.from(outcomes, ({ charts }) => charts[name]!),
  }));
  const { window, readingsPerSecond } = request.drift;
  const windowsPerMonth = (MONTH_SECONDS * readingsPerSecond) / window;
  return makeProfile([...features, ...outputs], { window, windowsPerMonth, seed: 1 });
}

interface Made {
  variant: Variant;
  bytes: Uint8Array;
  outcomes: Outcome[];
}

const largestValue = (outputs: readonly Tensors[]): number =>
  outputs.reduce(
    (top, tensors) =>
      Object.values(tensors).reduce(
        (most, { data }) => (data as Float32Array).reduce((m, v) => Math.max(m, Math.abs(v)), most),
        top,
      ),
    0,
  );

/** Other processors round otherwise in the last digits of float and the last step of int8. */
const FLOAT_TOLERANCE = 1e-4;
const INT8_SLACK = 2;

/** @throws SkeinError MODEL_INVALID, MANIFEST_INVALID */
export async function packModel(request: PackRequest): Promise<{ bundle: Bundle; report: PackReport }> {
  const session = await openModel(request.model);
  const inputs = [...session.inputs];
  const outputs = [...session.outputs];
  await session.close();
  const all = samplesOf(request, { inputs });
  if (all.length === 0) {
    throw new SkeinError('MODEL_INVALID', 'the calibration data gives no complete window', {
      fix: 'Give more rows, or a smaller window.',
    });
  }
  const samples = thinned(all, EVALUATED_SAMPLES);
  const measured = samples.map(({ input }) => input);
  const floatOutputs = await runAll(request.model, measured);
  const floatOutcomes = outcomesOf(request.postprocess, samples, floatOutputs);
  const scale = Math.max(1, largestValue(floatOutputs));
  const known = samples.some(({ truth }) => truth !== undefined);
  const float: Made = {
    variant: {
      id: 'fp32',
      precision: 'fp32',
      backend: 'onnxruntime',
      file: { sha256: hashOf(request.model), size: request.model.length },
      tolerance: FLOAT_TOLERANCE * scale,
      accuracy: known ? accuracyOf(samples, floatOutcomes, floatOutcomes) : 1,
    },
    bytes: request.model,
    outcomes: floatOutcomes,
  };
  const goldenInputs = thinned(measured, GOLDEN_VECTORS);
  const golden = goldenFrom(goldenInputs, await runAll(request.model, goldenInputs));
  const goldenBytes = new TextEncoder().encode(JSON.stringify(golden));

  const made: Made[] = [float];
  let quantization: QuantizeReport | null = null;
  if (request.int8) {
    const calibration = thinned(measured, CALIBRATION_SAMPLES);
    const { bytes, report } = await quantize(request.model, calibration, {
      ...request.int8,
      ...(request.onProgress ? { onProgress: request.onProgress } : {}),
    });
    const outcomes = outcomesOf(request.postprocess, samples, await runAll(bytes, measured));
    const goldenFound = await runAll(bytes, goldenInputs);
    const difference = Math.max(...golden.vectors.map((v, i) => goldenDifference(v, goldenFound[i]!)));
    const accuracy = accuracyOf(samples, outcomes, floatOutcomes);
    const variant: Variant = {
      id: 'int8',
      precision: 'int8',
      backend: 'onnxruntime',
      file: { sha256: hashOf(bytes), size: bytes.length },
      tolerance: INT8_SLACK * difference + FLOAT_TOLERANCE * scale,
      accuracy,
    };
    quantization = report;
    const enough = accuracy >= (request.int8.leastAgreement ?? 0.98) * (float.variant.accuracy ?? 1);
    const faster = report.p50Us.int8 <= report.p50Us.float;
    if (enough && (request.int8.prefer === 'int8' || faster)) made.unshift({ variant, bytes, outcomes });
    else if (enough) made.push({ variant, bytes, outcomes });
  }
  const manifest: Manifest = {
    format: 1,
    name: request.name,
    version: request.version,
    description: request.description,
    licence: request.licence,
    inputs,
    outputs,
    preprocess: request.preprocess,
    postprocess: request.postprocess,
    variants: made.map(({ variant }) => variant),
    golden: { sha256: hashOf(goldenBytes), size: goldenBytes.length },
    drift: driftOf(request, made[0]!.outcomes),
    needs: { memoryBytes: 32 * 1024 * 1024 + 8 * request.model.length, tags: [] },
    quantization: quantization && {
      method: quantization.method,
      scheme: 'QDQ u8s8 per channel',
      sqnr_db: Math.min(200, Math.round(quantization.sqnrDb * 100) / 100),
      agreement: quantization.agreement,
      int8_nodes: quantization.int8Nodes.length,
      float_nodes: quantization.floatNodes.length,
    },
    lineage: { trainedFrom: [...request.trainedFrom] },
  };
  const bundle = makeBundle(manifest, [...made.map(({ bytes }) => bytes), goldenBytes]);
  return {
    bundle,
    report: {
      windows: all.length,
      variants: made.map(({ variant }) => ({
        id: variant.id,
        sizeBytes: variant.file.size,
        accuracy: variant.accuracy,
        tolerance: variant.tolerance,
      })),
      quantization,
    },
  };
}
