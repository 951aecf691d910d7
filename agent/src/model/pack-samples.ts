/**
 * From recorded rows or pictures to what packing measures on. They go through the device's own preprocessing, so what
 * is calibrated, compared and charted here is what the model will see there. Pure.
 */
import { differences, makeProfile } from '@skein/protocol/drift/profile.ts';
import type { DriftProfile, FeaturePreprocess, Postprocess, TensorSpec } from '@skein/protocol/manifest.ts';
import type { ImagePreprocess } from '@skein/protocol/manifest-pipeline.ts';
import type { Tensors } from '../inference/backend.ts';
import { imageDims, type Placement } from '../pipeline/picture-tensor.ts';
import type { PreparedPicture } from '../pipeline/pictures.ts';
import { type Outcome, postprocess } from '../pipeline/postprocess.ts';
import { inputTensors, missingIn, scaleRow } from '../pipeline/preprocess.ts';
import { RowWindow } from '../pipeline/window.ts';

/** Rows of raw features, NaN where missing, in order of time and without gaps. */
export type Segment = readonly Float64Array[];

/** One inference, and what its outcome is told by. */
export interface Sample {
  inputs: Tensors;
  /** The values of the one input, for a reconstruction. */
  input: ArrayLike<number>;
  truth: string | undefined;
  /** What drift is charted on: `inputCharts` of the preprocessing. */
  row?: Float64Array;
  /** How a picture lies on the model's image, for boxes. */
  place?: Placement;
}

/** @param inputs of the model: the first takes the picture. */
export function pictureSample(
  inputs: readonly TensorSpec[],
  preprocess: ImagePreprocess,
  { data, place, row }: PreparedPicture,
  truth?: string,
): Sample {
  const tensor = { type: preprocess.type, dims: imageDims(preprocess), data };
  return { inputs: { [inputs[0]!.name]: tensor }, input: data as Float32Array, truth, row, place };
}

/** @param truth known class of each row, over all segments. A new segment starts a new window. */
export function samplesOf(
  inputs: readonly TensorSpec[],
  preprocess: FeaturePreprocess,
  recording: readonly Segment[],
  truth: readonly string[] | undefined,
): Sample[] {
  const samples: Sample[] = [];
  let reading = 0;
  for (const segment of recording) {
    const windows = new RowWindow(preprocess.window);
    for (const row of segment) {
      const known = truth?.[reading++];
      if (preprocess.onMissing === 'reject' && missingIn(row).length > 0) continue;
      const window = windows.push(scaleRow(preprocess, row));
      if (window) samples.push({ inputs: inputTensors({ inputs }, window), input: window, truth: known });
    }
  }
  return samples;
}

/** At most `most` of them, evenly spaced: the same ones every time. */
export const thinned = <T>(items: readonly T[], most: number): T[] =>
  items.length <= most
    ? [...items]
    : Array.from({ length: most }, (_, i) => items[Math.floor((i * items.length) / most)]!);

export const outcomesOf = (
  post: Postprocess,
  samples: readonly Sample[],
  outputs: readonly Tensors[],
): Outcome[] => outputs.map((output, i) => postprocess(post, output, samples[i]!.input, samples[i]!.place));

/** With known classes the accuracy on them, else the share of equal labels with the float model. */
export function accuracyOf(
  samples: readonly Sample[],
  own: readonly Outcome[],
  float: readonly Outcome[],
): number {
  const known = samples.some(({ truth }) => truth !== undefined);
  const right = own.filter(({ label }, i) => label === (known ? samples[i]!.truth : float[i]!.label)).length;
  return own.length === 0 ? 1 : right / own.length;
}

const MONTH_SECONDS = 30 * 86_400;

export interface DriftRequest {
  /** Readings per window. */
  window: number;
  readingsPerSecond: number;
}

/** Charts of every feature, its first difference where readings follow each other in time, and every output. */
export function profileOf(
  request: DriftRequest,
  features: readonly string[],
  segments: readonly Segment[],
  outcomes: readonly Outcome[],
  inTime = true,
): DriftProfile {
  const joined = (of: (segment: Segment) => Float64Array) =>
    Float64Array.from(segments.flatMap((segment) => [...of(segment)]));
  const inputs = features.flatMap((name, column) => {
    const valuesOf = (segment: Segment) => Float64Array.from(segment, (row) => row[column]!);
    const plain = { name, values: joined(valuesOf) };
    if (!inTime) return [plain];
    return [plain, { name: `${name}:diff`, values: joined((segment) => differences(valuesOf(segment))) }];
  });
  const outputs = Object.keys(outcomes[0]?.charts ?? {}).map((name) => ({
    name,
    values: Float64Array.from(outcomes, ({ charts }) => charts[name]!),
  }));
  const { window, readingsPerSecond } = request;
  const windowsPerMonth = (MONTH_SECONDS * readingsPerSecond) / window;
  return makeProfile([...inputs, ...outputs], { window, windowsPerMonth, seed: 1 });
}
