/**
 * Brings the image repository's metadata up to date (TUF 1.0.34, clause 5) through the Fetcher port. Everything that
 * verified is handed back also when a later step fails: a version once seen may not be un-seen.
 */
import { asSkeinError, SkeinError } from '@skein/protocol/errors.ts';
import { MAX_BYTES, type Root, type Targets } from '@skein/protocol/trust/metadata.ts';
import { loadRoot, MAX_ROOT_STEPS } from '@skein/protocol/trust/root-chain.ts';
import type { KeyVerify } from '@skein/protocol/trust/signatures.ts';
import { TrustedSet } from '@skein/protocol/trust/trusted-set.ts';
import type { Bytes, Millis } from '@skein/protocol/units.ts';
import { findTarget, type ImageSide } from './agreement.ts';
import type { Fetcher } from './ports.ts';
import type { GuardedState, TrustState } from './trust-state.ts';

export interface ImageProgress {
  set: TrustedSet;
  root: Uint8Array;
  /** Verified documents by role. */
  documents: Record<string, Uint8Array>;
  /** Present when every step succeeded. */
  targets: Targets | undefined;
}

export type Cached = Readonly<Record<string, Uint8Array>>;

/** A starting point from what is stored: the last root, or the pinned one when the last is torn. */
export function startImage(verify: KeyVerify, state: GuardedState, now: Millis): ImageProgress {
  const root = intactRoot(verify, state.image.root, state.pins.image, 'image root');
  const set = new TrustedSet(verify, root.parsed, state.image.floors, now);
  return { set, root: root.bytes, documents: {}, targets: undefined };
}

/** The stored documents, verified as if they had just come, but for their expiry. @throws SkeinError METADATA_*, SIGNATURE_INVALID */
export function loadImage(verify: KeyVerify, state: TrustState): ImageSide {
  const { set } = startImage(verify, state, Number.NEGATIVE_INFINITY);
  const documents = state.documents.image;
  const none = new Uint8Array();
  set.finishRoot();
  set.updateTimestamp(documents.timestamp ?? none);
  set.updateSnapshot(documents.snapshot ?? none);
  return { set, targets: set.readTargets(documents.targets ?? none), documents };
}

export function intactRoot(
  verify: KeyVerify,
  last: Uint8Array,
  pinned: Uint8Array,
  what: string,
): { parsed: Root; bytes: Uint8Array } {
  const parsed = attempt(() => loadRoot(verify, last, what));
  if (parsed) return { parsed, bytes: last };
  return { parsed: loadRoot(verify, pinned, `pinned ${what}`), bytes: pinned };
}

/** @throws SkeinError METADATA_*, SIGNATURE_INVALID, UNREACHABLE; `progress` then holds what had verified */
export async function refreshImage(fetcher: Fetcher, progress: ImageProgress, cached: Cached): Promise<void> {
  const { set } = progress;
  for (let step = 0; step < MAX_ROOT_STEPS; step++) {
    const path = `/v1/image/${set.root.version + 1}.root.json`;
    const bytes = await fetcher.document(path, MAX_BYTES.root);
    if (!bytes) break;
    set.updateRoot(bytes);
    progress.root = bytes;
  }
  set.finishRoot();
  await refreshTimestamp(fetcher, progress, cached);
  await refreshSnapshot(fetcher, progress, cached);
  progress.targets = await refreshTargets(fetcher, progress, cached);
}

async function refreshTimestamp(fetcher: Fetcher, progress: ImageProgress, cached: Cached): Promise<void> {
  const known = cached.timestamp;
  if (known && attempt(() => progress.set.updateTimestamp(known))) progress.documents.timestamp = known;
  const bytes = await required(fetcher, 'timestamp.json', MAX_BYTES.timestamp);
  if (progress.set.updateTimestamp(bytes)) progress.documents.timestamp = bytes;
}

async function refreshSnapshot(fetcher: Fetcher, progress: ImageProgress, cached: Cached): Promise<void> {
  const { set, documents } = progress;
  const known = cached.snapshot;
  if (known && succeeds(() => set.updateSnapshot(known))) {
    documents.snapshot = known;
    return;
  }
  const { version, length } = set.timestamp!.meta['snapshot.json'];
  const limit = Math.min(length ?? MAX_BYTES.snapshot, MAX_BYTES.snapshot);
  const bytes = await required(fetcher, set.fileName('snapshot', version), limit);
  set.updateSnapshot(bytes);
  documents.snapshot = bytes;
}

async function refreshTargets(fetcher: Fetcher, progress: ImageProgress, cached: Cached): Promise<Targets> {
  const { set, documents } = progress;
  const known = cached.targets;
  const kept = known && attempt(() => set.readTargets(known));
  if (kept) {
    documents.targets = known;
    return kept;
  }
  const bytes = await fetchTargets(fetcher, set, 'targets');
  const targets = set.readTargets(bytes);
  documents.targets = bytes;
  return targets;
}

/**
 * Fetches the delegated roles that the search for `path` asks for. A role that is not there or does not verify ends
 * that search (clause 5.6.7); the search itself says why when it is asked again.
 * @throws SkeinError UNREACHABLE
 */
export async function refreshDelegated(
  fetcher: Fetcher,
  progress: ImageProgress,
  cached: Cached,
  path: string,
): Promise<void> {
  const side = { set: progress.set, targets: progress.targets!, documents: progress.documents };
  for (;;) {
    const missing = attempt(() => findTarget(side, path))?.missing;
    if (!missing) return;
    const { role, delegator } = missing;
    const known = cached[role];
    const intact = known && attempt(() => progress.set.readTargets(known, role, delegator));
    const bytes = intact ? known : await fetchDelegated(fetcher, progress.set, role);
    if (!bytes) return;
    progress.documents[role] = bytes;
  }
}

async function fetchDelegated(
  fetcher: Fetcher,
  set: TrustedSet,
  role: string,
): Promise<Uint8Array | undefined> {
  try {
    return await fetchTargets(fetcher, set, role);
  } catch (thrown) {
    if (asSkeinError(thrown).code === 'UNREACHABLE') throw thrown;
    return undefined;
  }
}

/** Bytes of a targets role as the snapshot names it; not yet verified. */
async function fetchTargets(fetcher: Fetcher, set: TrustedSet, role: string): Promise<Uint8Array> {
  const { version, length } = set.metaOf(role);
  const limit = Math.min(length ?? MAX_BYTES.targets, MAX_BYTES.targets);
  return required(fetcher, set.fileName(role, version), limit);
}

async function required(fetcher: Fetcher, file: string, maxBytes: Bytes): Promise<Uint8Array> {
  const bytes = await fetcher.document(`/v1/image/${encodeURIComponent(file)}`, maxBytes);
  if (bytes) return bytes;
  throw new SkeinError('METADATA_INVALID', `the image repository has no ${file}`);
}

/** For cached bytes only: what is torn, expired or outdated there is no error, it is fetched again. */
export function attempt<T>(load: () => T): T | undefined {
  try {
    return load();
  } catch {
    return undefined;
  }
}

const succeeds = (step: () => void): boolean =>
  attempt(() => {
    step();
    return true;
  }) === true;
