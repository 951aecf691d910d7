/**
 * Publishing where the offline key is: the bundle is checked, its blobs go up, then the next image targets are built
 * from the latest ones, signed here and uploaded. What is on the server is verified under its root before anything is
 * added to it, so a hostile server can not slip a model in.
 */
import { fromBase64, toBase64 } from '@skein/protocol/base64.ts';
import { SkeinError } from '@skein/protocol/errors.ts';
import { manifestPath } from '@skein/protocol/manifest.ts';
import type { ModelTarget } from '@skein/protocol/orders.ts';
import type { Signer, Verify } from '@skein/protocol/ports.ts';
import { readModelTarget } from '@skein/protocol/trust/director.ts';
import {
  dateOf,
  openDocument,
  type Root,
  readTargets,
  type Targets,
} from '@skein/protocol/trust/metadata.ts';
import { loadRoot } from '@skein/protocol/trust/root-chain.ts';
import { ed25519Keys, publicKeys, requireThreshold } from '@skein/protocol/trust/signatures.ts';
import { SPEC_VERSION, signDocument } from '@skein/protocol/trust/signing.ts';
import type { Bytes } from '@skein/protocol/units.ts';
import { type BundleFiles, withBundle } from './bundle-files.ts';
import { type KeyOptions, TARGETS_LIFETIME } from './init-keys.ts';
import { listKeys } from './key-files.ts';

export interface PublishOptions extends KeyOptions {
  verify: Verify;
  /** Bundle directory or `model.skein`. */
  path: string;
  /** Smallest release that may run from now on; absent: the floor stays as it is. */
  floor?: number;
  progress?(done: Bytes, total: Bytes): void;
}

export interface Published {
  name: string;
  version: string;
  release: number;
  floor: number;
  manifestSha256: string;
  sizeBytes: Bytes;
  /** False: this version was there already with the same bytes. */
  changed: boolean;
}

/** @throws SkeinError BUNDLE_*, MANIFEST_INVALID, BLOB_MISMATCH, KEYS_INVALID, CONFLICT, SIGNATURE_INVALID, UNREACHABLE */
export const publishBundle = (options: PublishOptions): Promise<Published> =>
  withBundle(options.path, async (bundle) => {
    const { root, targets } = await latest(options);
    const signers = publisherSigners(options, root);
    const next = nextTarget(bundle, targets, options.floor);
    if (next.changed) {
      await upload(bundle, options);
      const signed = await nextTargets(targets, next, bundle, options.clock.now());
      await options.api.call('putTargets', { body: { targets: toBase64(signDocument(signed, signers)) } });
    }
    return {
      name: next.target.model,
      version: next.target.version,
      release: next.target.release,
      floor: next.target.floor,
      manifestSha256: bundle.manifestRef.sha256,
      sizeBytes: bundle.files.reduce((sum, file) => sum + file.size, 0),
      changed: next.changed,
    };
  });

async function latest({ api, verify, dir }: PublishOptions): Promise<{ root: Root; targets: Targets }> {
  const { image } = await api.call('getRoots');
  const keys = ed25519Keys(verify);
  const root = loadRoot(keys, fromBase64(image), 'image root');
  requireOwnRoot(root, dir);
  const { targets } = await api.call('getTargets');
  const opened = openDocument('targets', fromBase64(targets), 'image targets');
  requireThreshold(keys, root.keys, root.roles.targets, opened, 'image targets');
  return { root, targets: readTargets(opened, 'image targets') };
}

/** The public halves in the operator's folder say which root is theirs. */
function requireOwnRoot(root: Root, dir: string): void {
  const named = publicKeys(root.keys, root.roles.root);
  const own = listKeys(dir).filter((key) => key.role === 'root');
  if (own.length === 0 || own.some((key) => named.has(key.publicKey))) return;
  throw new SkeinError('SERVER_NOT_TRUSTED', `the server’s root names none of the root keys in ${dir}`, {
    fix: 'Check that this is the right server and the right folder of keys (--dir).',
  });
}

function publisherSigners({ dir, passphrase }: PublishOptions, root: Root): Signer[] {
  const named = publicKeys(root.keys, root.roles.targets);
  const usable = listKeys(dir).filter((key) => key.role === 'targets' && named.has(key.publicKey));
  if (usable.length < root.roles.targets.threshold) {
    throw new SkeinError(
      'KEYS_INVALID',
      `${dir} holds ${usable.length} of the publisher keys that the root names`,
      {
        fix: 'Make keys with `skein keys init`, or give the folder that holds them (--dir).',
      },
    );
  }
  return usable.map((key) => key.signer(passphrase));
}

function nextTarget({ manifest, manifestRef }: BundleFiles, targets: Targets, floor: number | undefined) {
  const known = Object.entries(targets.targets).flatMap(([path, file]) => {
    const custom = readModelTarget(path, file);
    return custom?.model === manifest.name ? [{ custom, sha256: file.hashes.sha256 }] : [];
  });
  const same = known.find(({ custom }) => custom.version === manifest.version);
  if (same && same.sha256 !== manifestRef.sha256) {
    throw new SkeinError(
      'CONFLICT',
      `${manifest.name}@${manifest.version} is published already with other bytes`,
      {
        fix: 'Pack it with another --version; a published version never changes.',
      },
    );
  }
  const release = same?.custom.release ?? Math.max(0, ...known.map(({ custom }) => custom.release)) + 1;
  const floors = Math.max(0, ...known.map(({ custom }) => custom.floor));
  if (floor !== undefined && floor > release) {
    throw new SkeinError('REQUEST_INVALID', `floor ${floor} would forbid this release ${release} itself`);
  }
  const target: ModelTarget = {
    model: manifest.name,
    version: manifest.version,
    release,
    floor: Math.max(floors, floor ?? 0),
    tags: manifest.needs.tags,
  };
  return { target, changed: !same || same.custom.floor !== target.floor };
}

async function nextTargets(
  targets: Targets,
  { target }: { target: ModelTarget },
  { manifest, manifestRef }: BundleFiles,
  now: number,
): Promise<object> {
  const path = manifestPath(manifest.name, manifest.version);
  const file = { length: manifestRef.size, hashes: { sha256: manifestRef.sha256 }, custom: target };
  return {
    ...targets,
    spec_version: SPEC_VERSION,
    version: targets.version + 1,
    expires: dateOf(now + TARGETS_LIFETIME),
    targets: { ...targets.targets, [path]: file },
  };
}

/** The manifest is a blob like the others: devices fetch it by the hash that was signed. */
async function upload({ files }: BundleFiles, { api, progress }: PublishOptions): Promise<void> {
  const total = files.reduce((sum, file) => sum + file.size, 0);
  let done = 0;
  progress?.(done, total);
  for (const { sha256, size, path } of files) {
    await api.putBlob(sha256, path);
    done += size;
    progress?.(done, total);
  }
}
