/**
 * The client workflow of TUF 1.0.34 (clause 5), in its order: what is asked of a mirror, under which name and bound,
 * and when the answer counts. What each document must be is in root-chain.ts, trusted-set.ts and delegations.ts.
 *
 * A refresh starts from stored documents, which are verified again like fetched ones; what is torn, outdated or expired
 * among them is no error, it is fetched again. Everything that verified stands in {@link Refresh} also when a later
 * step fails: a version once seen may not be un-seen.
 */
import { SkeinError } from '../errors.ts';
import type { Bytes, Millis } from '../units.ts';
import { searchTarget } from './delegations.ts';
import { MAX_BYTES, type TargetFile, type Targets } from './metadata.ts';
import { loadIntactRoot, MAX_ROOT_STEPS } from './root-chain.ts';
import type { ReadKey } from './signatures.ts';
import { type Delegator, type ImageFloors, TrustedSet } from './trusted-set.ts';

/** A mirror of the repository. `file` is a plain name (`2.root.json`), which a role's name may make any text. */
export interface Mirror {
  /** At most `maxBytes`; undefined: it has no such file. @throws SkeinError UNREACHABLE, PAYLOAD_TOO_LARGE */
  document(file: string, maxBytes: Bytes): Promise<Uint8Array | undefined>;
}

/** Verified documents by role. */
export type Documents = ReadonlyMap<string, Uint8Array>;

export interface Refresh {
  set: TrustedSet;
  root: Uint8Array;
  documents: Map<string, Uint8Array>;
  /** Present when every step succeeded. */
  targets: Targets | undefined;
}

export interface StoredRoot {
  last: Uint8Array;
  pinned: Uint8Array;
  floors: ImageFloors;
}

/** Clauses 5.1 and 5.2. @param now the fixed start time @throws SkeinError when even the pinned root is no root */
export function startRefresh(read: ReadKey, { last, pinned, floors }: StoredRoot, now: Millis): Refresh {
  // 5.2: verified again, not its expiry. 5.1: `now` stays what it is until the refresh ends.
  const root = loadIntactRoot(read, last, pinned, 'image root');
  const set = new TrustedSet(read, root.parsed, floors, now);
  return { set, root: root.bytes, documents: new Map(), targets: undefined };
}

/**
 * Clauses 5.3 to 5.6.6.
 * @param persist called whenever more is trusted (5.3.8, 5.4.5, 5.5.7, 5.6.6); a caller that keeps `refresh` in one
 * transaction at the end, failed or not, leaves it out
 * @throws SkeinError METADATA_*, SIGNATURE_INVALID, UNREACHABLE, PAYLOAD_TOO_LARGE
 */
export async function runRefresh(
  mirror: Mirror,
  refresh: Refresh,
  cached: Documents,
  persist: () => void = () => {},
): Promise<Targets> {
  await updateRoot(mirror, refresh, persist);
  // 5.3.11: "delete the trusted timestamp and snapshot metadata files".
  const usable = refresh.set.recovered ? withoutFloors(cached) : cached;
  await updateTimestamp(mirror, refresh, usable);
  persist();
  await updateSnapshot(mirror, refresh, usable);
  persist();
  refresh.targets = await updateTargets(mirror, refresh, usable);
  persist();
  return refresh.targets;
}

async function updateRoot(mirror: Mirror, refresh: Refresh, persist: () => void): Promise<void> {
  const { set } = refresh;
  // 5.3.3: version N + 1, until there is none or Y were taken; 5.3.9: again.
  for (let step = 0; step < MAX_ROOT_STEPS; step++) {
    const bytes = await mirror.document(`${set.root.version + 1}.root.json`, MAX_BYTES.root);
    if (!bytes) break;
    // 5.3.4 to 5.3.7 and 5.3.11.
    set.updateRoot(bytes);
    refresh.root = bytes;
    persist();
  }
  // 5.3.10.
  set.finishRoot();
}

async function updateTimestamp(
  mirror: Mirror,
  { set, documents }: Refresh,
  cached: Documents,
): Promise<void> {
  const known = cached.get('timestamp');
  if (known && attempt(() => set.updateTimestamp(known))) documents.set('timestamp', known);
  // 5.4.1: of unknown size, under a fixed name.
  const bytes = await required(mirror, 'timestamp.json', MAX_BYTES.timestamp);
  if (set.updateTimestamp(bytes)) documents.set('timestamp', bytes);
}

async function updateSnapshot(mirror: Mirror, { set, documents }: Refresh, cached: Documents): Promise<void> {
  const known = cached.get('snapshot');
  const kept = known && attempt(() => set.updateSnapshot(known));
  if (known && kept) return void documents.set('snapshot', known);
  // 5.5.1: as long as the timestamp says, or up to our own bound; named by 5.3.12.
  const { version, length = MAX_BYTES.snapshot } = set.timestamp!.meta['snapshot.json'];
  const limit = Math.min(length, MAX_BYTES.snapshot);
  const bytes = await required(mirror, set.fileName('snapshot', version), limit);
  set.updateSnapshot(bytes);
  documents.set('snapshot', bytes);
}

const updateTargets = (mirror: Mirror, refresh: Refresh, cached: Documents): Promise<Targets> =>
  loadTargets(mirror, refresh, cached, 'targets');

/**
 * Clause 5.6.7: the document that speaks about `path`, fetching the delegated roles that the search asks for.
 * Undefined: none does. @throws SkeinError when a role on the way can not be fetched or verified: that ends the search
 */
export async function findTarget(
  mirror: Mirror,
  refresh: Refresh,
  cached: Documents,
  path: string,
): Promise<TargetFile | undefined> {
  const search = searchTarget(refresh.targets!, path);
  let step = search.next();
  while (!step.done) {
    const { role, delegator } = step.value;
    step = search.next(await loadTargets(mirror, refresh, cached, role, delegator));
  }
  return step.value;
}

/** A role that this refresh or an earlier one fetched is verified again, under the delegator that asks for it now. */
async function loadTargets(
  mirror: Mirror,
  { set, documents }: Refresh,
  cached: Documents,
  role: string,
  delegator?: Delegator,
): Promise<Targets> {
  const fetched = documents.get(role);
  if (fetched) return set.readTargets(fetched, role, delegator);
  const known = cached.get(role);
  const kept = known && attempt(() => set.readTargets(known, role, delegator));
  if (known && kept) {
    documents.set(role, known);
    return kept;
  }
  // 5.6.1: as long as the snapshot says, or up to our own bound; named by 5.3.12.
  const { version, length = MAX_BYTES.targets } = set.metaOf(role);
  const limit = Math.min(length, MAX_BYTES.targets);
  const bytes = await required(mirror, set.fileName(role, version), limit);
  const targets = set.readTargets(bytes, role, delegator);
  documents.set(role, bytes);
  return targets;
}

/**
 * What is to be stored: what this refresh verified, and of what was stored before all that may still be of use. Roles
 * that the trusted snapshot no longer lists go, which bounds the store.
 */
export function mergeDocuments(cached: Documents, { set, documents }: Refresh): Map<string, Uint8Array> {
  const merged = new Map([...(set.recovered ? withoutFloors(cached) : cached), ...documents]);
  const meta = set.snapshot?.meta;
  if (!meta) return merged;
  const listed = (role: string) =>
    role === 'timestamp' || role === 'snapshot' || Object.hasOwn(meta, `${role}.json`);
  return new Map([...merged].filter(([role]) => listed(role)));
}

const withoutFloors = (documents: Documents): Documents =>
  new Map([...documents].filter(([role]) => role !== 'timestamp' && role !== 'snapshot'));

async function required(mirror: Mirror, file: string, maxBytes: Bytes): Promise<Uint8Array> {
  const bytes = await mirror.document(file, maxBytes);
  if (bytes) return bytes;
  throw new SkeinError('METADATA_INVALID', `the image repository has no ${file}`);
}

/** For stored bytes only. */
function attempt<T>(load: () => T): T | undefined {
  try {
    return load();
  } catch {
    return undefined;
  }
}
