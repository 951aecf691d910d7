/** What a manifest's schema can not say: that its parts fit each other. Checked when packed and before activation. */
import { SkeinError } from './errors.ts';
import type { Manifest } from './manifest.ts';

const wrong = (manifest: Manifest, message: string) =>
  new SkeinError('MANIFEST_INVALID', `${manifest.name}@${manifest.version}: ${message}`, {
    fix: 'Pack the model again with `skein-model pack`.',
  });

function checkScaling(manifest: Manifest): void {
  const { features, scaling } = manifest.preprocess;
  if (!scaling) return;
  if (scaling.offset.length !== features.length || scaling.scale.length !== features.length) {
    throw wrong(manifest, `scaling must have ${features.length} offsets and scales, one a feature`);
  }
  const bad = scaling.scale.findIndex((scale) => !(scale > 0));
  if (bad >= 0) throw wrong(manifest, `the scale of \`${features[bad]}\` must be positive`);
}

function checkInput(manifest: Manifest): void {
  const { features, window } = manifest.preprocess;
  const [input, ...others] = manifest.inputs;
  if (others.length > 0) throw wrong(manifest, 'features become one input tensor, the model has more');
  if (input?.type !== 'float32') throw wrong(manifest, `input \`${input?.name}\` must be float32`);
  const needed = input.shape.reduce((product, dim) => product * (dim < 0 ? 1 : dim), 1);
  const given = window.size * features.length;
  if (needed !== given) {
    throw wrong(
      manifest,
      `${window.size} readings of ${features.length} features are ${given} values, \`${input.name}\` takes ${needed}`,
    );
  }
}

/** @throws SkeinError MANIFEST_INVALID, naming what does not fit */
export function checkManifest(manifest: Manifest): void {
  if (new Set(manifest.preprocess.features).size !== manifest.preprocess.features.length) {
    throw wrong(manifest, 'a feature is named twice');
  }
  checkScaling(manifest);
  checkInput(manifest);
  const { output } = manifest.postprocess;
  if (!manifest.outputs.some(({ name }) => name === output)) {
    throw wrong(manifest, `there is no output \`${output}\``);
  }
  for (const chart of manifest.drift?.charts ?? []) {
    if (chart.probabilities.length !== chart.edges.length + 1) {
      throw wrong(manifest, `drift chart \`${chart.name}\` has ${chart.edges.length} edges for its bins`);
    }
  }
}
