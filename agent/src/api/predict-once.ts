/**
 * One set of feature values to one prediction, by the manifest's own preprocessing and postprocessing. A model that sees
 * a window gets the same values in all of its rows.
 */
import { SkeinError } from '@skein/protocol/errors.ts';
import { featurePreprocess } from '@skein/protocol/manifest-pipeline.ts';
import type { Tensors } from '../inference/backend.ts';
import type { CurrentModel } from '../inference/engine.ts';
import { postprocess } from '../pipeline/postprocess.ts';
import { inputTensors, missingIn, rowOf, scaleRow } from '../pipeline/preprocess.ts';
import { RowWindow } from '../pipeline/window.ts';

export interface OncePrediction {
  model: string;
  version: string;
  label: string;
  score: number;
  alarm: 0 | 1;
}

/** @param values by feature name, or in the model's order. @throws SkeinError REQUEST_INVALID, INPUT_NOT_FINITE, TENSOR_INVALID */
export async function predictOnce(
  { manifest }: CurrentModel,
  values: unknown,
  predict: (inputs: Tensors) => Promise<{ outputs: Tensors; version: string }>,
): Promise<OncePrediction> {
  const preprocess = featurePreprocess(manifest.preprocess);
  const row = rowOf(preprocess.features, named(preprocess.features, values));
  const missing = missingIn(row).map((i) => preprocess.features[i]!);
  if (missing.length > 0 && preprocess.onMissing === 'reject')
    throw new SkeinError('INPUT_NOT_FINITE', `missing or not finite: ${missing.slice(0, 8).join(', ')}`, {
      fix: `Give all ${preprocess.features.length} features: ${preprocess.features.join(', ')}.`,
    });
  const window = new RowWindow({ ...preprocess.window, padding: 'edge' }).push(scaleRow(preprocess, row))!;
  const { outputs, version } = await predict(inputTensors(manifest, window));
  const { label, score, alarm } = postprocess(manifest.postprocess, outputs, window);
  return { model: manifest.name, version, label, score, alarm };
}

function named(features: readonly string[], values: unknown): Record<string, number> {
  if (Array.isArray(values)) {
    if (values.length === features.length)
      return Object.fromEntries(features.map((feature, i) => [feature, Number(values[i] ?? Number.NaN)]));
    throw new SkeinError('REQUEST_INVALID', `${values.length} values, the model takes ${features.length}`, {
      fix: `In this order: ${features.join(', ')}.`,
    });
  }
  if (typeof values !== 'object' || values === null)
    throw new SkeinError('REQUEST_INVALID', '`values` is neither an object nor an array of numbers');
  const unknown = Object.keys(values).filter((key) => !features.includes(key));
  if (unknown.length > 0)
    throw new SkeinError('REQUEST_INVALID', `${unknown.slice(0, 8).join(', ')}: not features of the model`, {
      fix: `It takes ${features.join(', ')}.`,
    });
  return values as Record<string, number>;
}
