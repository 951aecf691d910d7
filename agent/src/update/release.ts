/** From a signed target to a release, and from a release back to what a runtime loads. */
import { SkeinError } from '@skein/protocol/errors.ts';
import { type Manifest, parseManifest } from '@skein/protocol/manifest.ts';
import type { AgreedOrder, Slots, StagedModel } from './ports.ts';
import type { Release } from './state.ts';

/**
 * The release that an agreed order means. The variant is the first one: manifests list them in order of preference.
 * @param bytes the manifest's, already checked against the signed hash
 * @throws SkeinError MANIFEST_INVALID, METADATA_DISAGREES
 */
export function releaseOf(agreed: AgreedOrder, bytes: Uint8Array): Release {
  const { order, target } = agreed;
  const manifest = parseManifest.parse(bytes, target.path);
  if (manifest.name !== order.model || manifest.version !== order.version) {
    const found = `${manifest.name}@${manifest.version}`;
    throw new SkeinError('METADATA_DISAGREES', `${target.path} is the manifest of ${found}`);
  }
  const variant = manifest.variants[0]!;
  return {
    version: manifest.version,
    manifest: { sha256: target.sha256, size: bytes.length },
    variant: variant.id,
    model: { ...variant.file },
    golden: { ...manifest.golden },
    order: { id: order.id, rollout: order.rollout },
  };
}

/** @throws SkeinError NOT_FOUND, BLOB_MISMATCH, MANIFEST_INVALID */
export async function stagedModel(
  slots: Pick<Slots, 'read' | 'pathOf'>,
  release: Release,
): Promise<StagedModel> {
  const bytes = await slots.read(release.manifest.sha256);
  const manifest: Manifest = parseManifest.parse(bytes, `manifest of ${release.version}`);
  const variant = manifest.variants.find((v) => v.id === release.variant);
  if (!variant)
    throw new SkeinError('MANIFEST_INVALID', `no variant ${release.variant} in ${release.version}`);
  return {
    manifest,
    manifestSha256: release.manifest.sha256,
    variant,
    modelPath: slots.pathOf(release.model.sha256),
    goldenPath: slots.pathOf(release.golden.sha256),
  };
}
