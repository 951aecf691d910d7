/**
 * The client workflow of TUF 1.0.34, clause 5, over bytes that somebody else fetched: no network, disk or clock.
 *
 * Load order: roots → {@link TrustedSet.finishRoot} → timestamp → snapshot → targets → delegated targets.
 * What is refused changes nothing. Rollback is judged by *floors*, the highest versions trusted so far, which are
 * kept apart from the documents: a torn or lost document can neither lower them nor keep a good one from replacing
 * it. Only a root that withdraws the timestamp or snapshot keys resets them (5.3.11).
 */
import { type ErrorCode, SkeinError } from '../errors.ts';
import type { Millis } from '../units.ts';
import {
  type MetaFile,
  openDocument,
  type Root,
  readSnapshot,
  readTargets,
  readTimestamp,
  type Snapshot,
  type Targets,
  type Timestamp,
} from './metadata.ts';
import { nextRoot, requireFresh, rotated } from './root-chain.ts';
import { type ReadKey, requireThreshold } from './signatures.ts';
import { hashesMatch } from './target-file.ts';

export interface ImageFloors {
  /** Version of the latest trusted root. A rotation up to it was already acted upon. */
  root: number;
  /** Version of the trusted timestamp. */
  timestamp: number;
  /** Version of the snapshot that the trusted timestamp names. */
  snapshot: number;
  /** `targets.json`, `ROLE.json` → version in the trusted snapshot. */
  meta: Readonly<Record<string, number>>;
}

export const NO_FLOORS: ImageFloors = { root: 0, timestamp: 0, snapshot: 0, meta: {} };

/** Who vouches for a delegated role: the targets document that delegates to it. */
export interface Delegator {
  name: string;
  targets: Targets;
}

export class TrustedSet {
  root: Root;
  floors: ImageFloors;
  timestamp: Timestamp | undefined;
  snapshot: Snapshot | undefined;
  /** 5.3.11 applied: stored timestamp and snapshot documents are void, also where they still verify. */
  recovered = false;
  /** A new root withdrew keys of the targets role: what they said beyond a document's version is void as well. */
  targetsWithdrawn = false;
  readonly #read: ReadKey;
  /** Clause 5.1: one time for the whole refresh. */
  readonly #now: Millis;

  constructor(read: ReadKey, root: Root, floors: ImageFloors, now: Millis) {
    this.#read = read;
    this.root = root;
    this.floors = { ...floors, root: Math.max(floors.root, root.version) };
    this.#now = now;
  }

  /** Clause 5.3.4–5.3.7 and 5.3.11. @throws SkeinError METADATA_INVALID, SIGNATURE_INVALID, METADATA_ROLLBACK */
  updateRoot(bytes: Uint8Array): void {
    if (this.timestamp) throw new SkeinError('INTERNAL', 'roots come before the timestamp');
    const next = nextRoot(this.#read, this.root, bytes, 'image root');
    // 5.3.11: withdrawn keys take the versions they vouched for with them (fast-forward recovery), once: a chain
    // that is walked again from the pinned root, after a torn one, must not reset what was trusted since.
    const isNew = next.version > this.floors.root;
    const withdrawn = (['timestamp', 'snapshot'] as const).some((role) =>
      rotated(this.#read, this.root, next, role),
    );
    if (isNew) this.floors = { ...(withdrawn ? NO_FLOORS : this.floors), root: next.version };
    this.recovered ||= isNew && withdrawn;
    this.targetsWithdrawn ||= isNew && rotated(this.#read, this.root, next, 'targets');
    this.root = next;
  }

  /** Clause 5.3.10: only the last root's expiry counts. @throws SkeinError METADATA_EXPIRED, METADATA_ROLLBACK */
  finishRoot(): void {
    requireAtLeast(this.root.version, this.floors.root, 'image root');
    requireFresh(this.root, this.#now, 'image root');
  }

  /** Clauses 5.4.2 to 5.4.4. False: the same version as the one already here, which stays (5.4.3.1). */
  updateTimestamp(bytes: Uint8Array): boolean {
    const what = 'timestamp';
    const opened = openDocument('timestamp', bytes, what);
    // 5.4.2: signed by a threshold of the trusted root's timestamp keys.
    requireThreshold(this.#read, this.root.keys, this.root.roles.timestamp, opened, what);
    const next = readTimestamp(opened, what);
    // 5.4.3.1: not older than the trusted timestamp; of the same version the trusted one is kept.
    requireAtLeast(next.version, this.floors.timestamp, what);
    if (this.timestamp?.version === next.version) return false;
    // 5.4.3.2: nor may the snapshot it names be older.
    requireAtLeast(
      next.meta['snapshot.json'].version,
      this.floors.snapshot,
      'snapshot named by the timestamp',
    );
    // 5.4.4: not expired.
    requireFresh(next, this.#now, what);
    this.timestamp = next;
    this.snapshot = undefined;
    this.floors = {
      ...this.floors,
      timestamp: next.version,
      snapshot: next.meta['snapshot.json'].version,
    };
    return true;
  }

  /** Clauses 5.5.2 to 5.5.6. */
  updateSnapshot(bytes: Uint8Array): Snapshot {
    const what = 'snapshot';
    const named = this.#required(this.timestamp, 'timestamp').meta['snapshot.json'];
    // 5.5.2: length and hashes as the timestamp says, when it does.
    requireMatch(named, bytes, what);
    const opened = openDocument('snapshot', bytes, what);
    // 5.5.3: signed by a threshold of the trusted root's snapshot keys.
    requireThreshold(this.#read, this.root.keys, this.root.roles.snapshot, opened, what);
    const next = readSnapshot(opened, what);
    // 5.5.4: the very version that the timestamp names.
    requireVersion(next.version, named.version, what);
    // 5.5.5: no targets document goes back, none disappears.
    for (const [file, floor] of Object.entries(this.floors.meta)) {
      const meta = Object.hasOwn(next.meta, file) ? next.meta[file as 'targets.json'] : undefined;
      if (!meta) throw rollback(`${file} is no longer in the snapshot`);
      requireAtLeast(meta.version, floor, `${file} in the snapshot`);
    }
    // 5.5.6: not expired.
    requireFresh(next, this.#now, what);
    this.snapshot = next;
    this.floors = { ...this.floors, meta: versionsOf(next) };
    return next;
  }

  /** Clause 5.6.2–5.6.5, for the top-level targets, and for each delegated role under its own delegator. */
  readTargets(bytes: Uint8Array, role = 'targets', delegator?: Delegator): Targets {
    const named = this.metaOf(role);
    // 5.6.2: length and hashes as the snapshot says, when it does.
    requireMatch(named, bytes, role);
    const opened = openDocument('targets', bytes, role);
    // 5.6.3: signed by a threshold of the keys that *this* delegator names (the root for the top level).
    const { keys, roleKeys } = this.#authority(role, delegator);
    requireThreshold(this.#read, keys, roleKeys, opened, role);
    const targets = readTargets(opened, role);
    // 5.6.4: the very version that the snapshot names.
    requireVersion(targets.version, named.version, role);
    // 5.6.5: not expired.
    requireFresh(targets, this.#now, role);
    return targets;
  }

  /** Clause 5.3.12: the name under which a document of this version is served. */
  fileName(role: string, version: number): string {
    return this.root.consistent_snapshot ? `${version}.${role}.json` : `${role}.json`;
  }

  /** What the trusted snapshot says about a targets role. @throws SkeinError METADATA_INVALID when nothing */
  metaOf(role: string): MetaFile {
    const { meta } = this.#required(this.snapshot, 'snapshot');
    const file = `${role}.json`;
    if (!Object.hasOwn(meta, file)) {
      throw new SkeinError('METADATA_INVALID', `${role}: the snapshot does not list it`);
    }
    return meta[file as 'targets.json'];
  }

  #authority(role: string, delegator?: Delegator) {
    if (!delegator) return { keys: this.root.keys, roleKeys: this.root.roles.targets };
    const delegations = delegator.targets.delegations;
    const roleKeys = delegations?.roles.find((r) => r.name === role);
    if (!delegations || !roleKeys) {
      throw new SkeinError('METADATA_INVALID', `${role}: ${delegator.name} does not delegate to it`);
    }
    return { keys: delegations.keys, roleKeys };
  }

  #required<T>(document: T | undefined, what: string): T {
    if (document === undefined) throw new SkeinError('INTERNAL', `${what} comes first`);
    return document;
  }
}

function versionsOf(snapshot: Snapshot): Record<string, number> {
  return Object.fromEntries(Object.entries(snapshot.meta).map(([file, meta]) => [file, meta.version]));
}

function requireMatch(meta: MetaFile, bytes: Uint8Array, what: string): void {
  if (meta.length !== undefined && meta.length !== bytes.length) {
    throw disagrees(`${what}: ${bytes.length} bytes where ${meta.length} are named`);
  }
  if (meta.hashes !== undefined && !hashesMatch(meta.hashes, bytes)) {
    throw disagrees(`${what}: not the bytes whose hash is named`);
  }
}

function requireAtLeast(version: number, floor: number, what: string): void {
  if (version < floor) throw rollback(`${what}: version ${version} after version ${floor} was trusted`);
}

function requireVersion(version: number, named: number, what: string): void {
  if (version !== named) throw disagrees(`${what}: version ${version} where ${named} is named`);
}

const error = (code: ErrorCode) => (message: string) => new SkeinError(code, message);
const rollback = error('METADATA_ROLLBACK');
const disagrees = error('METADATA_DISAGREES');
