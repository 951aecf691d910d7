/**
 * Publishing where the offline key is: the bundle is checked, its blobs go up, then the next image targets are built
 * from the latest ones, signed here and uploaded. What is on the server is verified under the root pinned here before
 * anything is added to it, so a hostile server can not have a model of its own signed along.
 */
import { fromBase64, toBase64 } from '@skein/protocol/base64.ts';
import { SkeinError } from '@skein/protocol/errors.ts';
import { manifestPath } from '@skein/protocol/manifest.ts';
import type { ModelTarget } from '@skein/protocol/orders.ts';
import type { Signer } from '@skein/protocol/ports.ts';
import { sha256Hex } from '@skein/protocol/sha256.ts';
import { readModelTarget } from '@skein/protocol/trust/director.ts';
import {
  dateOf,
  openDocument,
  type Root,
  readTargets,
  type Targets,
} from '@skein/protocol/trust/metadata.ts';
import { loadRoot, nextRoot } from '@skein/protocol/trust/root-chain.ts';
import { ed25519Keys, publicKeys, type ReadKey, requireThreshold } from '@skein/protocol/trust/signatures.ts';
import { SPEC_VERSION, signDocument } from '@skein/protocol/trust/signing.ts';
import type { Bytes, Millis } from '@skein/protocol/units.ts';
import { type BundleFiles, withBundle } from './bundle-files.ts';
import { type KeyOptions, TARGETS_LIFETIME } from './init-keys.ts';
import { listKeys } from './key-files.ts';
import { readPin, writePin } from './pins.ts';

export interface PublishOptions extends KeyOptions {
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
      const signed = nextTargets(targets, next.target, bundle, options.clock.now());
      const bytes = signDocument(signed, signers);
      await options.api.call('putTargets', { body: { targets: toBase64(bytes) } });
      writePin(options.dir, 'image-targets', bytes);
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

/** The believed root and the latest targets under it, of the server's and the last seen here the newer. */
async function latest({ api, verify, dir }: PublishOptions): Promise<{ root: Root; targets: Targets }> {
  const keys = ed25519Keys(verify);
  const root = believedRoot(keys, fromBase64((await api.call('getRoots')).image), dir);
  const shown = fromBase64((await api.call('getTargets')).targets);
  const candidates = [shown, readPin(dir, 'image-targets')].flatMap((bytes) =>
    bytes && bytes.length > 0 ? [readUnder(keys, root, bytes)] : [],
  );
  const [newest] = candidates.sort((a, b) => b.version - a.version);
  if (newest) return { root, targets: newest };
  throw new SkeinError('CONFLICT', 'the server has no signed targets yet', { fix: 'Run `skein keys init`.' });
}

function readUnder(keys: ReadKey, root: Root, bytes: Uint8Array): Targets {
  const opened = openDocument('targets', bytes, 'image targets');
  requireThreshold(keys, root.keys, root.roles.targets, opened, 'image targets');
  return readTargets(opened, 'image targets');
}

/** The pinned root, or its direct successor properly signed. A root that the server merely shows proves nothing. */
function believedRoot(keys: ReadKey, shown: Uint8Array, dir: string): Root {
  const bytes = readPin(dir, 'image-root');
  const fix = 'Check that this is the right server and the right folder (--dir).';
  if (!bytes) throw new SkeinError('KEYS_INVALID', `${dir} holds no image-root.signed.json`, { fix });
  const pinned = loadRoot(keys, bytes, 'pinned image root');
  if (sha256Hex(bytes) === sha256Hex(shown)) return pinned;
  try {
    const next = nextRoot(keys, pinned, shown, 'image root');
    writePin(dir, 'image-root', shown);
    return next;
  } catch (cause) {
    throw new SkeinError(
      'SERVER_NOT_TRUSTED',
      'the server shows a root that the pinned one does not vouch for',
      {
        cause,
        fix,
      },
    );
  }
}

function publisherSigners({ dir, passphrase, verify }: PublishOptions, root: Root): Signer[] {
  const named = publicKeys(ed25519Keys(verify), root.keys, root.roles.targets);
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

function nextTargets(
  targets: Targets,
  target: ModelTarget,
  { manifest, manifestRef }: BundleFiles,
  now: Millis,
): object {
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
