/**
 * What an upload of image targets must satisfy beyond its signatures, so that no device is ever sent after bytes that
 * are not there: every target is a model's manifest, its blobs are complete, published versions never change, and
 * release counters grow.
 */
import { SkeinError } from '@skein/protocol/errors.ts';
import { blobsOf, MAX_MANIFEST_BYTES, type Manifest, parseManifest } from '@skein/protocol/manifest.ts';
import { checkManifest } from '@skein/protocol/manifest-check.ts';
import type { ModelTarget } from '@skein/protocol/orders.ts';
import { readModelTarget } from '@skein/protocol/trust/director.ts';
import {
  openDocument,
  type Root,
  readTargets,
  type TargetFile,
  type Targets,
} from '@skein/protocol/trust/metadata.ts';
import { requireFresh } from '@skein/protocol/trust/root-chain.ts';
import { countSignatures, type ReadKey, requireThreshold } from '@skein/protocol/trust/signatures.ts';
import type { Millis, Sha256Hex } from '@skein/protocol/units.ts';
import type { Blobs } from '../blobs/port.ts';

export interface SignedModel {
  target: ModelTarget;
  manifest: Manifest;
  manifestSha256: Sha256Hex;
  /** The manifest's own bytes, as text. */
  manifestJson: string;
}

export interface CheckContext {
  keys: ReadKey;
  root: Root;
  now: Millis;
  blobs: Blobs;
}

/** Does this root's targets role vouch for these bytes? */
export function isSignedUnder(keys: ReadKey, root: Root, bytes: Uint8Array): boolean {
  const opened = openDocument('targets', bytes, 'image targets');
  return countSignatures(keys, root.keys, root.roles.targets, opened) >= root.roles.targets.threshold;
}

/** @throws SkeinError METADATA_*, SIGNATURE_INVALID, CONFLICT, MANIFEST_INVALID, NOT_FOUND */
export async function checkTargets(
  bytes: Uint8Array,
  last: { bytes: Uint8Array } | undefined,
  { keys, root, now, blobs }: CheckContext,
): Promise<{ targets: Targets; models: SignedModel[] }> {
  const what = 'image targets';
  const opened = openDocument('targets', bytes, what);
  requireThreshold(keys, root.keys, root.roles.targets, opened, what);
  const targets = readTargets(opened, what);
  requireFresh(targets, now, what);
  const before = last && readTargets(openDocument('targets', last.bytes, what), what);
  if (before && targets.version <= before.version) {
    throw new SkeinError('CONFLICT', `${what}: version ${targets.version} after ${before.version}`, {
      fix: 'Fetch the latest targets and publish again.',
    });
  }
  const models = await Promise.all(
    Object.entries(targets.targets).map(([path, file]) => readSigned(path, file, blobs)),
  );
  for (const model of models) requireGrowth(model, before);
  return { targets, models };
}

async function readSigned(path: string, file: TargetFile, blobs: Blobs): Promise<SignedModel> {
  const target = readModelTarget(path, file);
  const manifestSha256 = file.hashes.sha256;
  if (!target || !manifestSha256) {
    throw new SkeinError('METADATA_INVALID', `target ${path} is not a model’s manifest`);
  }
  const bytes = await readBlob(blobs, manifestSha256, file.length);
  const manifest = parseManifest.parse(bytes, path);
  checkManifest(manifest);
  const same = manifest.name === target.model && manifest.version === target.version;
  const tags = manifest.needs.tags.length === target.tags.length;
  if (!same || !tags || !manifest.needs.tags.every((tag) => target.tags.includes(tag))) {
    throw new SkeinError(
      'METADATA_DISAGREES',
      `${path}: the signed target does not say what its manifest says`,
    );
  }
  for (const { sha256, size } of blobsOf(manifest)) await requireBlob(blobs, sha256, size);
  return { target, manifest, manifestSha256, manifestJson: new TextDecoder().decode(bytes) };
}

async function readBlob(blobs: Blobs, sha256: Sha256Hex, size: number): Promise<Uint8Array> {
  await requireBlob(blobs, sha256, size);
  if (size > MAX_MANIFEST_BYTES) throw new SkeinError('MANIFEST_INVALID', `manifest of ${size} bytes`);
  const bytes = new Uint8Array(size);
  let at = 0;
  for await (const chunk of blobs.read(sha256)) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return bytes;
}

async function requireBlob(blobs: Blobs, sha256: Sha256Hex, size: number): Promise<void> {
  const stored = await blobs.sizeOf(sha256);
  if (stored === size) return;
  const what = stored === undefined ? 'is not on the server' : `has ${stored} bytes where ${size} are signed`;
  throw new SkeinError('NOT_FOUND', `blob ${sha256} ${what}`, {
    fix: 'Upload the blobs before the targets.',
  });
}

function requireGrowth({ target, manifestSha256 }: SignedModel, before: Targets | undefined): void {
  const known = Object.entries(before?.targets ?? {}).flatMap(([path, file]) => {
    const custom = readModelTarget(path, file);
    return custom?.model === target.model ? [{ custom, sha256: file.hashes.sha256 }] : [];
  });
  const same = known.find(({ custom }) => custom.version === target.version);
  const name = `${target.model}@${target.version}`;
  if (same && (same.sha256 !== manifestSha256 || same.custom.release !== target.release)) {
    throw new SkeinError('CONFLICT', `${name} is published already and a published version never changes`, {
      fix: 'Publish the change as another version.',
    });
  }
  if (!same && known.some(({ custom }) => custom.release >= target.release)) {
    throw new SkeinError('CONFLICT', `${name}: release ${target.release} was given before`);
  }
}
