/**
 * The next image targets out of the present ones: a version published, revoked, or all of it only signed again.
 * What was revoked is remembered in the signed document (`custom.skein.revoked`), so that neither its release number
 * nor its floor nor its version is ever given again, and devices can say why they leave it.
 */
import { SkeinError } from '@skein/protocol/errors.ts';
import { manifestPath } from '@skein/protocol/manifest.ts';
import type { ModelTarget } from '@skein/protocol/orders.ts';
import { readModelTarget } from '@skein/protocol/trust/director.ts';
import { TARGETS_LIFETIME } from '@skein/protocol/trust/expiry.ts';
import { dateOf, type TargetFile, type Targets } from '@skein/protocol/trust/metadata.ts';
import { type Revoked, revokedIn } from '@skein/protocol/trust/revocation.ts';
import { SPEC_VERSION } from '@skein/protocol/trust/signing.ts';
import type { Millis, Sha256Hex } from '@skein/protocol/units.ts';

/** Oldest are forgotten beyond this: by then later releases of the model carry its counter on. */
const REVOKED_MAX = 1024;

/** What a bundle says of itself. */
export interface Publication {
  model: string;
  version: string;
  tags: string[];
  manifest: { sha256: Sha256Hex; size: number };
  /** Smallest release that may run from now on; absent: it stays as it is. */
  floor?: number | undefined;
}

export interface Listed {
  custom: ModelTarget;
  file: TargetFile;
}

/** The signed versions of a model. */
export const versionsOf = (targets: Targets, model: string): Listed[] =>
  Object.entries(targets.targets).flatMap(([path, file]) => {
    const custom = readModelTarget(path, file);
    return custom?.model === model ? [{ custom, file }] : [];
  });

/** The target a publication makes, and whether anything changes. @throws SkeinError CONFLICT, REQUEST_INVALID, MODEL_REVOKED */
export function targetOf(targets: Targets, said: Publication): { target: ModelTarget; changed: boolean } {
  const name = `${said.model}@${said.version}`;
  const known = versionsOf(targets, said.model);
  const gone = revokedIn(targets).filter(({ model }) => model === said.model);
  if (gone.some(({ version }) => version === said.version)) {
    throw new SkeinError('MODEL_REVOKED', `${name} was revoked`, {
      fix: 'Pack it with another --version; a revoked version stays revoked.',
    });
  }
  const same = known.find(({ custom }) => custom.version === said.version);
  if (same && same.file.hashes.sha256 !== said.manifest.sha256) {
    throw new SkeinError('CONFLICT', `${name} is published already with other bytes`, {
      fix: 'Pack it with another --version; a published version never changes.',
    });
  }
  const all = [...known.map(({ custom }) => custom), ...gone];
  const release = same?.custom.release ?? Math.max(0, ...all.map((one) => one.release)) + 1;
  const floor = Math.max(0, said.floor ?? 0, ...all.map((one) => one.floor));
  if (said.floor !== undefined && said.floor > release) {
    throw new SkeinError(
      'REQUEST_INVALID',
      `floor ${said.floor} would forbid this release ${release} itself`,
      {
        fix: `Give a --floor of at most ${release}.`,
      },
    );
  }
  const target: ModelTarget = { model: said.model, version: said.version, release, floor, tags: said.tags };
  return { target, changed: !same || same.custom.floor !== floor };
}

export function withPublished(targets: Targets, target: ModelTarget, { manifest }: Publication, now: Millis) {
  const path = manifestPath(target.model, target.version);
  const file = { length: manifest.size, hashes: { sha256: manifest.sha256 }, custom: target };
  return renewed({ ...targets, targets: { ...targets.targets, [path]: file } }, now);
}

/** @throws SkeinError NOT_FOUND */
export function withRevoked(
  targets: Targets,
  { model, version, reason }: { model: string; version: string; reason: string },
  now: Millis,
): Targets {
  const path = manifestPath(model, version);
  const file = Object.hasOwn(targets.targets, path) ? targets.targets[path] : undefined;
  const custom = file && readModelTarget(path, file);
  if (!custom) {
    throw new SkeinError('NOT_FOUND', `${model}@${version} is not among the signed models`, {
      fix: 'See `skein models list`; what is revoked already is not signed any more.',
    });
  }
  const { [path]: _, ...left } = targets.targets;
  const { release, floor } = custom;
  const entry: Revoked = { model, version, release, floor, reason: reason.slice(0, 200) };
  const revoked = [...revokedIn(targets), entry].slice(-REVOKED_MAX);
  const said = typeof targets.custom === 'object' ? targets.custom : {};
  return renewed({ ...targets, targets: left, custom: { ...said, skein: { revoked } } }, now);
}

/** The same again, for another year. */
export const renewed = (targets: Targets, now: Millis): Targets => ({
  ...targets,
  spec_version: SPEC_VERSION,
  version: targets.version + 1,
  expires: dateOf(now + TARGETS_LIFETIME),
});
