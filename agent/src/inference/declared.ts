/** Does a loaded file take and give what its manifest says? */
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Manifest, TensorSpec } from '@skein/protocol/manifest.ts';
import type { LoadedModel } from './backend.ts';

const fits = (found: TensorSpec, declared: TensorSpec): boolean =>
  found.type === declared.type &&
  found.shape.length === declared.shape.length &&
  found.shape.every((dim, axis) => dim < 0 || declared.shape[axis]! < 0 || dim === declared.shape[axis]);

/** @throws SkeinError MODEL_INVALID */
export function checkDeclared(loaded: Pick<LoadedModel, 'inputs' | 'outputs'>, manifest: Manifest): void {
  const pairs = [
    [manifest.inputs, loaded.inputs],
    [manifest.outputs, loaded.outputs],
  ] as const;
  for (const [declared, found] of pairs) {
    const odd = declared.find(
      (spec) => !found.some((tensor) => tensor.name === spec.name && fits(tensor, spec)),
    );
    if (!odd && found.length >= declared.length) continue;
    throw new SkeinError(
      'MODEL_INVALID',
      `the file has no tensor \`${odd?.name}\` as the manifest declares it`,
      {
        fix: 'Pack the model again: manifest and file disagree.',
      },
    );
  }
}
