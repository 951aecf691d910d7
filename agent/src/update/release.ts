/** From a signed target to a release, and from a release back to what a runtime loads. */
import { SkeinError } from '@skein/protocol/errors.ts';
import { type Manifest, parseManifest } from '@skein/protocol/manifest.ts';
import type { Bytes } from '@skein/protocol/units.ts';
import type { AgreedOrder, Slots, StagedModel } from './ports.ts';
import type { Release } from './state.ts';
import { type Candidate, choiceReason, isInProcess, type VariantPlan } from './variants.ts';

/**
 * The manifest of an agreed order.
 * @param bytes the manifest's, already checked against the signed hash
 * @throws SkeinError MANIFEST_INVALID, METADATA_DISAGREES
 */
export function manifestOf({ order, target }: AgreedOrder, bytes: Uint8Array): Manifest {
  const manifest = parseManifest.parse(bytes, target.path);
  if (manifest.name === order.model && manifest.version === order.version) return manifest;
  const found = `${manifest.name}@${manifest.version}`;
  throw new SkeinError('METADATA_DISAGREES', `${target.path} is the manifest of ${found}`);
}

/**
 * The release that an agreed order means here: the first variant that is to be tried, and the others.
 * @param agent its version, which checked the manifest
 * @throws SkeinError of the backend that is missing, or NO_VARIANT; both are this machine's
 */
export function releaseOf(
  agreed: AgreedOrder,
  manifest: Manifest,
  size: number,
  plan: VariantPlan,
  agent?: string,
): Release {
  const [first, ...others] = plan.candidates;
  if (!first) throw noVariant(manifest, plan);
  return {
    version: manifest.version,
    release: agreed.custom.release,
    manifest: { sha256: agreed.target.sha256, size },
    ...(agent === undefined ? {} : { checkedBy: agent }),
    golden: { ...manifest.golden },
    order: { id: agreed.order.id, rollout: agreed.order.rollout },
    ...asChosen(first, choiceReason(first.variant, { figures: [], left: plan.left, why: plan.why })),
    ...(others.length > 0 ? { others } : {}),
    ...(plan.measure ? { measure: { key: plan.key, left: plan.left } } : {}),
  };
}

/** The part of a release that says which variant it is. The agent's own backend is not named, nor a plain reason. */
export const asChosen = ({ variant, backend, model }: Candidate, reason: string) => ({
  variant,
  model: { ...model },
  reason,
  ...(isInProcess(backend) ? {} : { backend }),
});

function noVariant({ name, version }: Manifest, { left, fault }: VariantPlan): SkeinError {
  const why = left.map(({ variant, why: because }) => `${variant}: ${because}`).join('; ');
  return new SkeinError(
    fault?.code ?? 'NO_VARIANT',
    `no variant of ${name}@${version} can run here: ${why}`.slice(0, 500),
    {
      fix: 'Configure and start the backend that a variant names, or pack a variant for this hardware; it is tried again.',
    },
  );
}

/** @throws SkeinError NOT_FOUND, BLOB_MISMATCH, MANIFEST_INVALID */
export async function stagedModel(
  slots: Pick<Slots, 'read' | 'pathOf'>,
  release: Release,
  agent?: string,
): Promise<StagedModel> {
  const { variant, model } = release;
  return stagedVariant(slots, release, { variant, model }, slots.pathOf(model.sha256), agent);
}

/** What a model may take: what its manifest asks for, at least twice its file. */
export const neededBytes = ({ manifest, variant }: Pick<StagedModel, 'manifest' | 'variant'>): Bytes =>
  Math.max(manifest.needs.memoryBytes, 2 * variant.file.size);

/** Of bytes that this very agent has checked before a schema need not be made again: a start waits for it. */
function manifestAgain(
  bytes: Uint8Array,
  { checkedBy, version }: Release,
  agent: string | undefined,
): Manifest {
  if (agent === undefined || checkedBy !== agent) return parseManifest.parse(bytes, `manifest of ${version}`);
  return JSON.parse(new TextDecoder().decode(bytes)) as Manifest;
}

/**
 * One variant of a release, wherever its file lies.
 * @param slots whose bytes have the hash that they are named by
 * @param agent version of this agent; absent: the manifest is checked whoever did before
 * @throws as {@link stagedModel}
 */
export async function stagedVariant(
  slots: Pick<Slots, 'read' | 'pathOf'>,
  release: Release,
  candidate: Pick<Candidate, 'variant' | 'model'>,
  modelPath: string,
  agent?: string,
): Promise<StagedModel> {
  const bytes = await slots.read(release.manifest.sha256);
  const manifest = manifestAgain(bytes, release, agent);
  const variant = manifest.variants.find((v) => v.id === candidate.variant);
  if (!variant)
    throw new SkeinError('MANIFEST_INVALID', `no variant ${candidate.variant} in ${release.version}`);
  return {
    manifest,
    manifestSha256: release.manifest.sha256,
    variant,
    modelPath,
    goldenPath: slots.pathOf(release.golden.sha256),
  };
}
