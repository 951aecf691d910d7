/**
 * Publishing where the offline key is: the bundle is checked, its blobs go up, then the next image targets are built
 * from the latest ones, signed here and uploaded. What is on the server is verified under the root pinned here before
 * anything is added to it, so a hostile server can not have a model of its own signed along.
 */
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Clock, Verify } from '@skein/protocol/ports.ts';
import { keyIdOf } from '@skein/protocol/trust/signing.ts';
import type { Bytes } from '@skein/protocol/units.ts';
import { type Publication, targetOf, withPublished, withRevoked } from '../keys/next-targets.ts';
import { type BundleFiles, withBundle } from './bundle-files.ts';
import { type Ceremony, conclude, type Outcome } from './ceremony.ts';
import type { ApiClient } from './client.ts';
import { openKeyFolder } from './key-files.ts';
import { fetchTrusted, type Trusted } from './trusted.ts';

export interface SigningOptions {
  api: ApiClient;
  /** Folder of keys and pins. */
  dir: string;
  clock: Pick<Clock, 'now'>;
  verify: Verify;
  /** For keys that need one; asked for when there is none. */
  passphrase?: string | undefined;
  ask?: Ceremony['ask'];
  /** Where the draft goes when the keys here are not enough; absent: then it is an error. */
  out?: string | undefined;
  /** Sign nothing here, also when the keys are. */
  onlyPrepare?: boolean;
}

export interface PublishOptions extends SigningOptions {
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
  /** The draft that other holders have to sign before devices see anything of it. */
  draft?: string;
}

/** @throws SkeinError BUNDLE_*, MANIFEST_INVALID, BLOB_MISMATCH, KEYS_INVALID, CONFLICT, SIGNATURE_INVALID, UNREACHABLE */
export const publishBundle = (options: PublishOptions): Promise<Published> =>
  withBundle(options.path, async (bundle) => {
    const trusted = await fetchTrusted(options);
    const said = publicationOf(bundle, options.floor);
    const { target, changed } = targetOf(trusted.targets, said);
    let draft: string | null = null;
    if (changed) {
      requireKeys(options, trusted);
      await upload(bundle, options);
      const next = withPublished(trusted.targets, target, said, options.clock.now());
      ({ file: draft } = await signTargets(
        options,
        trusted,
        next,
        `${target.model}@${target.version} is published`,
      ));
    }
    return {
      name: target.model,
      version: target.version,
      release: target.release,
      floor: target.floor,
      manifestSha256: bundle.manifestRef.sha256,
      sizeBytes: bundle.files.reduce((sum, file) => sum + file.size, 0),
      changed,
      ...(draft === null ? {} : { draft }),
    };
  });

export interface Revocation extends SigningOptions {
  model: string;
  version: string;
  reason: string;
}

/** From then on devices neither install this version nor go on running it. @throws SkeinError NOT_FOUND, and as publishing */
export async function revokeModel(options: Revocation): Promise<Outcome> {
  const trusted = await fetchTrusted(options);
  const next = withRevoked(trusted.targets, options, options.clock.now());
  requireKeys(options, trusted);
  return signTargets(options, trusted, next, `${options.model}@${options.version} is revoked`);
}

const publicationOf = ({ manifest, manifestRef }: BundleFiles, floor: number | undefined): Publication => ({
  model: manifest.name,
  version: manifest.version,
  tags: manifest.needs.tags,
  manifest: manifestRef,
  floor,
});

function signTargets(
  options: SigningOptions,
  trusted: Trusted,
  next: object,
  purpose: string,
): Promise<Outcome> {
  const parts = {
    purpose,
    chains: trusted.chains,
    targets: trusted.targetsBytes,
    documents: [{ kind: 'image-targets' as const, signed: next }],
  };
  const file = options.out ?? 'image-targets.draft.json';
  return conclude(ceremonyOf(options), options.api, parts, file, options.onlyPrepare);
}

export const ceremonyOf = ({ dir, verify, clock, ask, passphrase }: SigningOptions): Ceremony => ({
  dir,
  verify,
  clock,
  token: openKeyFolder(dir),
  ask: ask ?? (async () => passphrase),
});

/** Before anything is uploaded: is this the folder of a publisher, unless others are to sign? */
function requireKeys({ dir, out }: SigningOptions, { roots }: Trusted): void {
  const { keyids, threshold } = roots.image.roles.targets;
  const named = new Set(keyids);
  const usable = openKeyFolder(dir)
    .find()
    .filter(({ publicKey }) => named.has(keyIdOf(publicKey)));
  if (usable.length >= threshold || out !== undefined) return;
  throw new SkeinError(
    'KEYS_INVALID',
    `${dir} holds ${usable.length} of the ${threshold} publisher keys that must sign`,
    { fix: 'Give the folder that holds them (--dir), or write a draft for their holders with --out FILE.' },
  );
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
