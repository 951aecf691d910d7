/** What a manifest's schema can not say: that its parts fit each other. Checked when packed and before activation. */
import { SkeinError } from './errors.ts';
import type { Manifest, TensorSpec } from './manifest.ts';
import {
  channelsOf,
  type DetectPostprocess,
  type FeaturePreprocess,
  type ImagePreprocess,
  MAX_IMAGE_PIXELS,
} from './manifest-pipeline.ts';

const wrong = (manifest: Manifest, message: string) =>
  new SkeinError('MANIFEST_INVALID', `${manifest.name}@${manifest.version}: ${message}`, {
    fix: 'Pack the model again with `skein-model pack`.',
  });

const shapeText = (shape: readonly number[]): string => `[${shape.map((d) => (d < 0 ? '?' : d)).join(', ')}]`;

function checkScaling(manifest: Manifest, { features, scaling }: FeaturePreprocess): void {
  if (!scaling) return;
  if (scaling.offset.length !== features.length || scaling.scale.length !== features.length) {
    throw wrong(manifest, `scaling must have ${features.length} offsets and scales, one a feature`);
  }
  const bad = scaling.scale.findIndex((scale) => !(scale > 0));
  if (bad >= 0) throw wrong(manifest, `the scale of \`${features[bad]}\` must be positive`);
}

/** The only input. */
function soleInput(manifest: Manifest, what: string): TensorSpec {
  const [input, ...others] = manifest.inputs;
  if (!input || others.length > 0) throw wrong(manifest, `${what} one input tensor, the model has more`);
  return input;
}

function checkFeatures(manifest: Manifest, preprocess: FeaturePreprocess): void {
  const { features, window } = preprocess;
  if (new Set(features).size !== features.length) throw wrong(manifest, 'a feature is named twice');
  checkScaling(manifest, preprocess);
  const input = soleInput(manifest, 'features become');
  if (input.type !== 'float32') throw wrong(manifest, `input \`${input.name}\` must be float32`);
  const needed = input.shape.reduce((product, dim) => product * (dim < 0 ? 1 : dim), 1);
  const given = window.size * features.length;
  if (needed !== given) {
    throw wrong(
      manifest,
      `${window.size} readings of ${features.length} features are ${given} values, \`${input.name}\` takes ${needed}`,
    );
  }
}

const LARGEST = 3.4028234663852886e38;

/** Every byte must become a float32. */
function checkNormalise(manifest: Manifest, { normalise, colour }: ImagePreprocess): void {
  if (!normalise) return;
  const channels = channelsOf({ colour });
  for (const [name, values] of [['mean', normalise.mean] as const, ['std', normalise.std] as const]) {
    if (values.length === 1 || values.length === channels) continue;
    throw wrong(manifest, `\`${name}\` must have 1 or ${channels} numbers, one a channel of ${colour}`);
  }
  const most = Math.abs(255 * normalise.scale) + Math.max(...normalise.mean.map(Math.abs));
  if (!(most / Math.min(...normalise.std) <= LARGEST)) {
    throw wrong(manifest, 'normalising gives numbers beyond float32');
  }
}

function checkImage(manifest: Manifest, preprocess: ImagePreprocess): void {
  const { width, height, resize, colour, layout, type } = preprocess;
  const input = soleInput(manifest, 'a picture becomes');
  if (input.type !== type) {
    throw wrong(manifest, `the picture becomes ${type}, input \`${input.name}\` takes ${input.type}`);
  }
  if (layout === 'NHW' && colour !== 'gray') throw wrong(manifest, 'layout NHW has no axis for colours');
  const channels = channelsOf({ colour });
  const sides = { NCHW: [channels, height, width], NHWC: [height, width, channels], NHW: [height, width] };
  const given = [1, ...sides[layout]];
  const fits =
    input.shape.length === given.length && input.shape.every((dim, axis) => dim < 0 || dim === given[axis]);
  if (!fits) {
    throw wrong(
      manifest,
      `the picture becomes ${shapeText(given)}, input \`${input.name}\` takes ${shapeText(input.shape)}`,
    );
  }
  if (width * height > MAX_IMAGE_PIXELS) throw wrong(manifest, `more than ${MAX_IMAGE_PIXELS} pixels`);
  const { mode, shortSide } = resize;
  if (shortSide !== undefined && (mode !== 'crop' || shortSide < Math.max(width, height))) {
    throw wrong(manifest, '`shortSide` belongs to `crop` and is at least as long as both sides');
  }
  checkNormalise(manifest, preprocess);
}

function checkInput(manifest: Manifest): void {
  const { preprocess } = manifest;
  if (preprocess.kind === 'features') checkFeatures(manifest, preprocess);
  else if (preprocess.kind === 'image') checkImage(manifest, preprocess);
  else if (manifest.drift) throw wrong(manifest, 'drift of tensors is not charted: `drift` must be null');
}

function checkDetect(manifest: Manifest, { values, scores, classes, labels, background }: DetectPostprocess) {
  if ((values === 'none') !== (scores !== undefined)) {
    throw wrong(manifest, '`scores` names an output exactly when `values` is none');
  }
  if (classes !== undefined && scores === undefined) throw wrong(manifest, '`classes` goes with `scores`');
  if (background !== undefined && background >= labels.length) {
    throw wrong(manifest, `\`background\` ${background} is not one of ${labels.length} labels`);
  }
}

function checkOutput(manifest: Manifest): void {
  const { postprocess, preprocess } = manifest;
  const named = [postprocess.output];
  if (postprocess.kind === 'detect') {
    checkDetect(manifest, postprocess);
    named.push(...[postprocess.scores, postprocess.classes].filter((name) => name !== undefined));
  }
  const missing = named.find((output) => !manifest.outputs.some(({ name }) => name === output));
  if (missing !== undefined) throw wrong(manifest, `there is no output \`${missing}\``);
  if (postprocess.kind === 'reconstruction' && preprocess.kind === 'tensor') {
    throw wrong(manifest, 'a reconstruction is compared with features or a picture, not with tensors');
  }
}

/** @throws SkeinError MANIFEST_INVALID, naming what does not fit */
export function checkManifest(manifest: Manifest): void {
  checkInput(manifest);
  checkOutput(manifest);
  for (const chart of manifest.drift?.charts ?? []) {
    if (chart.probabilities.length !== chart.edges.length + 1) {
      throw wrong(manifest, `drift chart \`${chart.name}\` has ${chart.edges.length} edges for its bins`);
    }
  }
}
