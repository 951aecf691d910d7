/**
 * The root ceremony in its first form: makes the offline keys on the operator's machine, signs version 1 of both roots
 * (2 of 3, two years) that name the server's online keys, and empty image targets (one year), and uploads them.
 * It can be run again after an interruption: keys that exist are used, documents that are there are left alone.
 */
import { fromBase64, toBase64 } from '@skein/protocol/base64.ts';
import { asSkeinError, SkeinError } from '@skein/protocol/errors.ts';
import type { Clock, Signer, Verify } from '@skein/protocol/ports.ts';
import { ROOT_LIFETIME, TARGETS_LIFETIME } from '@skein/protocol/trust/expiry.ts';
import { dateOf, openDocument } from '@skein/protocol/trust/metadata.ts';
import { countSignatures, ed25519Keys } from '@skein/protocol/trust/signatures.ts';
import { keyIdOf, rootSigned, SPEC_VERSION, signDocument, tufKey } from '@skein/protocol/trust/signing.ts';
import { OFFLINE_ROLES, type OfflineRole } from '../keys/roles.ts';
import type { ApiClient } from './client.ts';
import { createKey, listKeys, type OfflineKey } from './key-files.ts';
import { readPin, writePin } from './pins.ts';

const ROOT_THRESHOLD = 2;
const HOW_MANY: Record<OfflineRole, number> = { root: 3, targets: 1, 'director-root': 3 };

export interface KeyOptions {
  api: ApiClient;
  /** Folder of the offline keys. */
  dir: string;
  passphrase?: string | undefined;
  clock: Pick<Clock, 'now'>;
  verify: Verify;
  /** Begin anew although the server has roots: every device has to enrol again. */
  replace?: boolean;
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
  if (uploaded && options.replace) return replaceAll(options);
  if (uploaded) requireOurs(uploaded, options);
  const keys = ensureKeys(dir, passphrase);
  const signers = (role: OfflineRole) =>
    keys.filter((key) => key.role === role).map((key) => key.signer(passphrase));
  if (!uploaded) {
    const roots = pinnedRoots(dir) ?? (await firstRoots(options, keys, signers));
    // Kept before they are sent: version 1 is signed once, whatever happens on the way.
    pinRoots(dir, roots);
    await api.call('putRoots', { body: roots });
  }
  const { targets } = await api.call('getTargets');
  if (targets === '') {
    const bytes = readPin(dir, 'image-targets') ?? emptyTargets(options, signers('targets'));
    await api.call('putTargets', { body: { targets: toBase64(bytes) } });
    writePin(dir, 'image-targets', bytes);
  }
  return { changed: !uploaded || targets === '', keys };
}

/** The folder must be new: keys of the lost roots are not to come along by mistake. */
async function replaceAll(options: KeyOptions): Promise<InitOutcome> {
  const { api, dir, passphrase } = options;
  if (pinnedRoots(dir)) {
    throw new SkeinError('CONFLICT', `${dir} holds the roots that are to be replaced`, {
      fix: 'Give a new folder (--dir); models are published again from their bundles.',
    });
  }
  const keys = ensureKeys(dir, passphrase);
  const signers = (role: OfflineRole) =>
    keys.filter((key) => key.role === role).map((key) => key.signer(passphrase));
  const roots = await firstRoots(options, keys, signers);
  const targets = emptyTargets(options, signers('targets'));
  await api.call('replaceRoots', { body: { ...roots, targets: toBase64(targets) } });
  pinRoots(dir, roots);
  writePin(dir, 'image-targets', targets);
  return { changed: true, keys };
}

async function rootsOf(api: ApiClient): Promise<Roots | undefined> {
  try {
    return await api.call('getRoots');
  } catch (thrown) {
    if (asSkeinError(thrown).code === 'NOT_FOUND') return undefined;
    throw thrown;
  }
}

function pinnedRoots(dir: string): Roots | undefined {
  const [image, director] = [readPin(dir, 'image-root'), readPin(dir, 'director-root')];
  return image && director && { image: toBase64(image), director: toBase64(director) };
}

function pinRoots(dir: string, { image, director }: Roots): void {
  writePin(dir, 'image-root', fromBase64(image));
  writePin(dir, 'director-root', fromBase64(director));
}

function ensureKeys(dir: string, passphrase: string | undefined): OfflineKey[] {
  const known = listKeys(dir);
  const wanted = OFFLINE_ROLES.flatMap((role) =>
    Array.from({ length: HOW_MANY[role] }, (_, at) => ({ role, n: at + 1, name: `${role}-${at + 1}.json` })),
  );
  const missing = wanted.filter(({ name }) => !known.some((key) => key.name === name));
  const made = missing.map(({ role, n }) => createKey(dir, role, n, passphrase));
  return [...known, ...made].sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** Ours is what a threshold of the root keys in this folder has signed; a root may *name* any key. */
function requireOurs(roots: Roots, { dir, verify }: KeyOptions): void {
  const own = listKeys(dir).filter((key) => key.role === 'root');
  const keys = Object.fromEntries(own.map(({ publicKey }) => [keyIdOf(publicKey), tufKey(publicKey)]));
  const role = { keyids: Object.keys(keys), threshold: ROOT_THRESHOLD };
  const opened = openDocument('root', fromBase64(roots.image), 'image root');
  if (countSignatures(ed25519Keys(verify), keys, role, opened) < ROOT_THRESHOLD) {
    throw new SkeinError(
      'CONFLICT',
      `the server has roots already, and the keys in ${dir} have not signed them`,
      {
        fix: 'Give the folder with the keys that made them (--dir).',
      },
    );
  }
  if (!pinnedRoots(dir)) pinRoots(dir, roots);
}

async function firstRoots(
  { api, clock }: KeyOptions,
  keys: readonly OfflineKey[],
  signers: (role: OfflineRole) => Signer[],
): Promise<Roots> {
  const online = await api.call('onlineKeys');
  const of = (role: OfflineRole) => keys.filter((key) => key.role === role).map((key) => key.publicKey);
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
