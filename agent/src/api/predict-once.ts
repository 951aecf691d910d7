/**
 * One set of feature values, or one picture, to one prediction, by the manifest's own preprocessing and postprocessing. A
 * model that sees a window gets the same values in all of its rows.
 */
import { SkeinError } from '@skein/protocol/errors.ts';
import {
  type FeaturePreprocess,
  featurePreprocess,
  type ImagePreprocess,
} from '@skein/protocol/manifest-pipeline.ts';
import type { Tensors } from '../inference/backend.ts';
import type { CurrentModel } from '../inference/engine.ts';
import { type Fed, pictureFed } from '../pipeline/model-feed.ts';
import type { Pictures } from '../pipeline/pictures.ts';
import { type Outcome, postprocess } from '../pipeline/postprocess.ts';
import { inputTensors, missingIn, rowOf, scaleRow } from '../pipeline/preprocess.ts';
import { RowWindow } from '../pipeline/window.ts';
import type { Picture } from '../sources/port.ts';

/** `top` and `boxes` where the manifest asks for them; boxes are in pixels of the picture that was sent. */
export interface OncePrediction extends Pick<Outcome, 'label' | 'score' | 'alarm' | 'top' | 'boxes'> {
  model: string;
  version: string;
}

/** `values`: by feature name, or in the model's order. `image`: a JPEG or PNG in base64. */
export interface OnceRequest {
  values?: unknown;
  image?: unknown;
}

/** @throws SkeinError REQUEST_INVALID, INPUT_NOT_FINITE, TENSOR_INVALID, IMAGE_INVALID, IMAGE_TOO_LARGE, OVERLOADED */
export async function predictOnce(
  { manifest }: CurrentModel,
  request: OnceRequest,
  predict: (inputs: Tensors) => Promise<{ outputs: Tensors; version: string }>,
  pictures?: Pick<Pictures, 'prepare'>,
): Promise<OncePrediction> {
  const { preprocess, postprocess: post } = manifest;
  const fed =
    preprocess.kind === 'image' && pictures
      ? await fromImage(manifest, preprocess, request.image, pictures)
      : fromValues(manifest, featurePreprocess(preprocess), request.values);
  const { outputs, version } = await predict(fed.inputs);
  const { charts: _, ...outcome } = postprocess(post, outputs, fed.values, fed.place);
  return { model: manifest.name, version, ...outcome };
}

function fromValues(manifest: CurrentModel['manifest'], preprocess: FeaturePreprocess, values: unknown): Fed {
  const row = rowOf(preprocess.features, named(preprocess.features, values));
  const missing = missingIn(row).map((i) => preprocess.features[i]!);
  if (missing.length > 0 && preprocess.onMissing === 'reject')
    throw new SkeinError('INPUT_NOT_FINITE', `missing or not finite: ${missing.slice(0, 8).join(', ')}`, {
      fix: `Give all ${preprocess.features.length} features: ${preprocess.features.join(', ')}.`,
    });
  const window = new RowWindow({ ...preprocess.window, padding: 'edge' }).push(scaleRow(preprocess, row))!;
  return { inputs: inputTensors(manifest, window), values: window };
}

async function fromImage(
  manifest: CurrentModel['manifest'],
  preprocess: ImagePreprocess,
  image: unknown,
  pictures: Pick<Pictures, 'prepare'>,
): Promise<Fed> {
  if (typeof image !== 'string')
    throw new SkeinError('REQUEST_INVALID', 'the model takes a picture: `image` is not text in base64', {
      fix: 'Send {"image": "…"}, or `skein-agent predict MODEL picture.jpg`.',
    });
  const bytes = new Uint8Array(Buffer.from(image, 'base64'));
  const picture: Picture = { format: bytes[0] === 0x89 ? 'png' : 'jpeg', bytes };
  return pictureFed(manifest, preprocess, await pictures.prepare(picture, preprocess));
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
