/** Readings to the model's input, as the manifest says; identical at pack time and on the device. */
import type { FeaturePreprocess, TensorSpec } from '@skein/protocol/manifest.ts';
import type { Tensors } from '../inference/backend.ts';

/** Beyond this a value would be an infinity in the model's float32. */
const LARGEST = 3.4028234663852886e38;

/** The features of a reading in the model's order; NaN where it has none, or it is not finite or beyond float32. */
export function rowOf(features: readonly string[], values: Readonly<Record<string, number>>): Float64Array {
  const row = new Float64Array(features.length);
  for (let i = 0; i < row.length; i++) {
    const value = values[features[i]!];
    row[i] = value !== undefined && Math.abs(value) <= LARGEST ? value : Number.NaN;
  }
  return row;
}

/** Indices of missing values; empty for almost every reading, so nothing is allocated then. */
const NONE: readonly number[] = [];
export function missingIn(row: Float64Array): readonly number[] {
  let found: number[] | undefined;
  for (let i = 0; i < row.length; i++) {
    if (!Number.isNaN(row[i])) continue;
    found ??= [];
    found.push(i);
  }
  return found ?? NONE;
}

/** (x − offset) / scale, clipped to ±clip. A missing value takes the offset, so it becomes 0. */
export function scaleRow(preprocess: FeaturePreprocess, row: Float64Array): Float32Array {
  const { scaling } = preprocess;
  const scaled = new Float32Array(row.length);
  for (let i = 0; i < row.length; i++) {
    const value = row[i]!;
    if (Number.isNaN(value)) continue;
    if (!scaling) {
      scaled[i] = value;
      continue;
    }
    const standard = (value - scaling.offset[i]!) / scaling.scale[i]!;
    scaled[i] = Math.max(-scaling.clip, Math.min(scaling.clip, standard));
  }
  return scaled;
}

/** The one input tensor; a free dimension becomes 1. */
export function inputTensors(model: { inputs: readonly TensorSpec[] }, window: Float32Array): Tensors {
  const { name, shape } = model.inputs[0]!;
  const dims = shape.map((dim) => (dim < 0 ? 1 : dim));
  return { [name]: { type: 'float32', dims, data: window } };
}
