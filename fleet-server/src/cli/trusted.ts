/**
 * What the operator believes: the chains of roots from the pinned ones on, and the latest list of models under them.
 * A root that the server merely shows proves nothing: each must be vouched for by the one before, and older targets
 * than those seen here are not taken up.
 */
import { fromBase64 } from '@skein/protocol/base64.ts';
import { asSkeinError, SkeinError } from '@skein/protocol/errors.ts';
import type { Verify } from '@skein/protocol/ports.ts';
import type { Repo } from '@skein/protocol/trust/expiry.ts';
import {
  openDocument,
  type Root,
  readRoot,
  readTargets,
  type Targets,
} from '@skein/protocol/trust/metadata.ts';
import { loadRoot, nextRoot } from '@skein/protocol/trust/root-chain.ts';
import { ed25519Keys, type ReadKey, requireThreshold } from '@skein/protocol/trust/signatures.ts';
import { MAX_CHAIN } from '../keys/draft.ts';
import { fingerprintOf } from '../keys/review.ts';
import type { ApiClient } from './client.ts';
import { type Pin, readPin, writePin } from './pins.ts';

export interface Trusted {
  /** Oldest first; the last is in force. */
  chains: Record<Repo, Uint8Array[]>;
  roots: { image: Root; director: Root | undefined };
  targets: Targets;
  targetsBytes: Uint8Array;
}

export interface TrustedFrom {
  api: ApiClient;
  /** Folder with the pins. */
  dir: string;
  verify: Verify;
}

/** @throws SkeinError KEYS_INVALID (nothing pinned here), SERVER_NOT_TRUSTED, CONFLICT (no targets yet), UNREACHABLE */
export async function fetchTrusted(
  { api, dir, verify }: TrustedFrom,
  needs: readonly Repo[] = ['image'],
): Promise<Trusted> {
  const keys = ed25519Keys(verify);
  const shown = await api.call('getRoots');
  const image = await chainOf(api, 'image', fromBase64(shown.image), dir, keys);
  // A publisher's folder need not know the director's root.
  const both = needs.includes('director') || readPin(dir, 'director-root') !== undefined;
  const director = both ? await chainOf(api, 'director', fromBase64(shown.director), dir, keys) : [];
  const chains = { image, director };
  const roots = { image: lastOf(image), director: director.length > 0 ? lastOf(director) : undefined };
  const listed = fromBase64((await api.call('getTargets')).targets);
  const found = newest(keys, roots.image, listed, readPin(dir, 'image-targets'));
  if (found) return { chains, roots, ...found };
  throw new SkeinError('CONFLICT', 'the server has no signed targets yet', { fix: 'Run `skein keys init`.' });
}

/** From the root pinned here to the one that is shown; with older ones before it, for holders who pinned those. */
async function chainOf(
  api: ApiClient,
  repo: Repo,
  shown: Uint8Array,
  dir: string,
  keys: ReadKey,
): Promise<Uint8Array[]> {
  const pin: Pin = `${repo}-root`;
  const pinnedBytes = readPin(dir, pin);
  if (!pinnedBytes) {
    throw new SkeinError('KEYS_INVALID', `${dir} holds no ${pin}.signed.json`, {
      fix: 'Check that this is the right server and the right folder (--dir); the file lies where the keys were made.',
    });
  }
  const pinned = loadRoot(keys, pinnedBytes, `pinned ${repo} root`);
  const { version } = peek(shown);
  if (version < pinned.version) {
    throw new SkeinError(
      'METADATA_ROLLBACK',
      `${repo} root: the server shows version ${version}, ${pinned.version} was seen here`,
      {
        fix: 'The server was set back, or is not the one it was: publish the pinned root again, or look who runs it.',
      },
    );
  }
  const root = async (n: number) => (n === version ? shown : fetchRoot(api, repo, n));
  let last = pinned;
  const chain: Uint8Array[] = [];
  for (let n = Math.max(1, version - MAX_CHAIN + 1); n <= version; n++) {
    const bytes = n === pinned.version ? pinnedBytes : await root(n);
    if (n === version && n === pinned.version) requireSame(pinnedBytes, shown, repo);
    if (n > pinned.version) last = follow(keys, last, bytes, repo);
    chain.push(bytes);
  }
  if (last.version > pinned.version) writePin(dir, pin, shown);
  return chain;
}

async function fetchRoot(api: ApiClient, repo: Repo, version: number): Promise<Uint8Array> {
  return fromBase64((await api.call('getRoot', { params: { repo, version: String(version) } })).root);
}

function follow(keys: ReadKey, last: Root, bytes: Uint8Array, repo: Repo): Root {
  try {
    return nextRoot(keys, last, bytes, `${repo} root`);
  } catch (cause) {
    throw notVouched(repo, cause);
  }
}

function requireSame(pinned: Uint8Array, shown: Uint8Array, repo: Repo): void {
  if (fingerprintOf(peek(pinned)) !== fingerprintOf(peek(shown))) throw notVouched(repo);
}

const notVouched = (repo: Repo, cause?: unknown) =>
  new SkeinError(
    'SERVER_NOT_TRUSTED',
    `the server shows a ${repo} root that the pinned one does not vouch for`,
    {
      cause,
      fix: 'Check that this is the right server and the right folder (--dir).',
    },
  );

const peek = (bytes: Uint8Array): Root => readRoot(openDocument('root', bytes, 'root'), 'root');
const lastOf = (chain: readonly Uint8Array[]): Root => peek(chain.at(-1)!);

/** Of the server's and the last seen here the newer. What was seen here may be of a key that is withdrawn since. */
function newest(keys: ReadKey, root: Root, shown: Uint8Array, seen: Uint8Array | undefined) {
  const read = (bytes: Uint8Array) => {
    const opened = openDocument('targets', bytes, 'image targets');
    requireThreshold(keys, root.keys, root.roles.targets, opened, 'image targets');
    return { targets: readTargets(opened, 'image targets'), targetsBytes: bytes };
  };
  const known = shown.length > 0 ? [read(shown)] : [];
  try {
    if (seen) known.push(read(seen));
  } catch (thrown) {
    if (asSkeinError(thrown).code !== 'SIGNATURE_INVALID') throw thrown;
  }
  return known.sort((a, b) => b.targets.version - a.targets.version)[0];
}
