/**
 * The root ceremony in its first form: makes the offline keys on the operator's machine, signs version 1 of both roots
 * (2 of 3, two years) that name the server's online keys, and empty image targets (one year), and uploads them.
 * It can be run again after an interruption: keys that exist are used, documents that are there are left alone.
 */
import { fromBase64, toBase64 } from '@skein/protocol/base64.ts';
import { asSkeinError, SkeinError } from '@skein/protocol/errors.ts';
import type { Clock, Signer } from '@skein/protocol/ports.ts';
import { dateOf, openDocument, readRoot } from '@skein/protocol/trust/metadata.ts';
import { publicKeys } from '@skein/protocol/trust/signatures.ts';
import { rootSigned, SPEC_VERSION, signDocument } from '@skein/protocol/trust/signing.ts';
import { DAY, type Millis } from '@skein/protocol/units.ts';
import type { ApiClient } from './client.ts';
import { createKey, type KeyRole, listKeys, type OfflineKey } from './key-files.ts';

export const ROOT_LIFETIME: Millis = 730 * DAY;
export const TARGETS_LIFETIME: Millis = 365 * DAY;
const ROOT_THRESHOLD = 2;
const HOW_MANY: Record<KeyRole, number> = { root: 3, targets: 1, 'director-root': 3 };

export interface KeyOptions {
  api: ApiClient;
  /** Folder of the offline keys. */
  dir: string;
  passphrase?: string | undefined;
  clock: Pick<Clock, 'now'>;
}

export interface InitOutcome {
  /** False: the server already had roots and targets that these keys made. */
  changed: boolean;
  keys: OfflineKey[];
}

type Roots = { image: string; director: string };

/** @throws SkeinError CONFLICT (the server's roots are of other keys), KEYS_INVALID, UNREACHABLE */
export async function initKeys(options: KeyOptions): Promise<InitOutcome> {
  const { api, dir, passphrase } = options;
  const uploaded = await rootsOf(api);
  if (uploaded) requireOurs(uploaded, listKeys(dir), dir);
  const keys = ensureKeys(dir, passphrase);
  const signers = (role: KeyRole) =>
    keys.filter((key) => key.role === role).map((key) => key.signer(passphrase));
  if (!uploaded) {
    const roots = await firstRoots(options, keys, signers);
    await api.call('putRoots', { body: roots });
  }
  const { targets } = await api.call('getTargets');
  if (targets === '') {
    await api.call('putTargets', { body: { targets: toBase64(emptyTargets(options, signers('targets'))) } });
  }
  return { changed: !uploaded || targets === '', keys };
}

async function rootsOf(api: ApiClient): Promise<Roots | undefined> {
  try {
    return await api.call('getRoots');
  } catch (thrown) {
    if (asSkeinError(thrown).code === 'NOT_FOUND') return undefined;
    throw thrown;
  }
}

function ensureKeys(dir: string, passphrase: string | undefined): OfflineKey[] {
  const known = listKeys(dir);
  for (const role of Object.keys(HOW_MANY) as KeyRole[]) {
    for (let n = 1; n <= HOW_MANY[role]; n++) {
      if (!known.some((key) => key.name === `${role}-${n}.json`)) createKey(dir, role, n, passphrase);
    }
  }
  return listKeys(dir);
}

function requireOurs(roots: Roots, keys: readonly OfflineKey[], dir: string): void {
  const root = readRoot(openDocument('root', fromBase64(roots.image), 'image root'), 'image root');
  const named = publicKeys(root.keys, root.roles.targets);
  if (keys.some((key) => key.role === 'targets' && named.has(key.publicKey))) return;
  throw new SkeinError('CONFLICT', `the server has roots already, and they name no key in ${dir}`, {
    fix: 'Give the folder with the keys that made them (--dir).',
  });
}

async function firstRoots(
  { api, clock }: KeyOptions,
  keys: readonly OfflineKey[],
  signers: (role: KeyRole) => Signer[],
): Promise<Roots> {
  const online = await api.call('onlineKeys');
  const of = (role: KeyRole) => keys.filter((key) => key.role === role).map((key) => key.publicKey);
  const one = (key: string) => ({ keys: [key], threshold: 1 });
  const expiresAt = clock.now() + ROOT_LIFETIME;
  const image = rootSigned(1, expiresAt, {
    root: { keys: of('root'), threshold: ROOT_THRESHOLD },
    targets: { keys: of('targets'), threshold: 1 },
    snapshot: one(online.snapshot),
    timestamp: one(online.timestamp),
  });
  // The director has no snapshot and timestamp (they would grow with the fleet); TUF wants the roles named.
  const director = rootSigned(1, expiresAt, {
    root: { keys: of('director-root'), threshold: ROOT_THRESHOLD },
    targets: one(online.director),
    snapshot: one(online.director),
    timestamp: one(online.director),
  });
  return {
    image: toBase64(signDocument(image, signers('root'))),
    director: toBase64(signDocument(director, signers('director-root'))),
  };
}

function emptyTargets({ clock }: KeyOptions, signers: readonly Signer[]): Uint8Array {
  const expires = dateOf(clock.now() + TARGETS_LIFETIME);
  const signed = { _type: 'targets', spec_version: SPEC_VERSION, version: 1, expires, targets: {} };
  return signDocument(signed, signers);
}
