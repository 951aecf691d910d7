/**
 * The image repository as this server serves it. Roots and targets come signed from offline keys and are held to the
 * same verifier as on a device before they are stored; snapshot and timestamp are signed here and give freshness
 * only. Roots are replaced only along their chain. Online versions are max(last + 1, unix seconds), so a server that
 * was restored from a backup is still obeyed.
 */
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Clock, Signer, Verify } from '@skein/protocol/ports.ts';
import { sha256Hex } from '@skein/protocol/sha256.ts';
import { dateOf, expiresAt, openDocument, type Root, readTimestamp } from '@skein/protocol/trust/metadata.ts';
import { loadRoot, nextRoot, requireFresh, type TopRole } from '@skein/protocol/trust/root-chain.ts';
import { ed25519Keys, publicKeys, type ReadKey } from '@skein/protocol/trust/signatures.ts';
import { SPEC_VERSION, signDocument } from '@skein/protocol/trust/signing.ts';
import { DAY, type Millis, SECOND } from '@skein/protocol/units.ts';
import type { Transaction } from 'kysely';
import type { Blobs } from '../blobs/port.ts';
import type { Tables } from '../store/schema.ts';
import type { Store } from '../store/sqlite-store.ts';
import { type OnlineSigners, publicOnlineKeys } from './online-keys.ts';
import { registerModels } from './registry.ts';
import {
  type Db,
  documentAt,
  latestDocument,
  pruneDocuments,
  putDocument,
  type Repo,
} from './trust-documents.ts';
import { checkTargets } from './upload-check.ts';

/** Snapshot and timestamp live this long and are signed again when half of it is over. */
const ONLINE_LIFETIME: Millis = 7 * DAY;
const KEPT_VERSIONS = 20;

export interface ImageRepositoryDeps {
  store: Store;
  blobs: Blobs;
  clock: Clock;
  verify: Verify;
  online: OnlineSigners;
}

export class ImageRepository {
  readonly #deps: ImageRepositoryDeps;

  constructor(deps: ImageRepositoryDeps) {
    this.#deps = deps;
  }

  /** undefined before `skein keys init`. */
  async latestRoots(db: Db = this.#deps.store): Promise<Record<Repo, Uint8Array> | undefined> {
    const image = await latestDocument(db, 'image', 'root');
    const director = await latestDocument(db, 'director', 'root');
    return image && director && { image: image.bytes, director: director.bytes };
  }

  async latestTargets(): Promise<Uint8Array | undefined> {
    return (await latestDocument(this.#deps.store, 'image', 'targets'))?.bytes;
  }

  /** Version of the snapshot that is served; 0 before the first targets. */
  async snapshotVersion(db: Db = this.#deps.store): Promise<number> {
    return (await latestDocument(db, 'image', 'snapshot'))?.version ?? 0;
  }

  /** The same bytes again change nothing. @throws SkeinError METADATA_*, SIGNATURE_INVALID, KEYS_INVALID, CONFLICT */
  async putRoots(roots: Record<Repo, Uint8Array>): Promise<void> {
    await this.#deps.store.transaction().execute(async (tx) => {
      const keys = publicOnlineKeys(this.#deps.online);
      await this.#putRoot(tx, 'image', roots.image, { snapshot: keys.snapshot, timestamp: keys.timestamp });
      await this.#putRoot(tx, 'director', roots.director, { targets: keys.director });
      // Withdrawn online keys: what they signed must not be served any longer.
      await this.#signOnline(tx);
    });
  }

  /** @throws SkeinError METADATA_*, SIGNATURE_INVALID, CONFLICT, MANIFEST_INVALID, NOT_FOUND (a blob is missing) */
  async putTargets(bytes: Uint8Array): Promise<void> {
    const { store, blobs, verify, clock } = this.#deps;
    const root = await this.#root('image');
    const last = await latestDocument(store, 'image', 'targets');
    if (last && sameBytes(last.bytes, bytes)) return;
    const { targets, models } = await checkTargets(bytes, last, {
      keys: ed25519Keys(verify),
      root,
      now: clock.now(),
      blobs,
    });
    await store.transaction().execute(async (tx) => {
      const now = await latestDocument(tx, 'image', 'targets');
      if (now?.version !== last?.version) throw conflict('other targets were uploaded meanwhile');
      await putDocument(tx, 'image', 'targets', { version: targets.version, bytes }, clock.now());
      await registerModels(tx, models, clock.now());
      await this.#signOnline(tx);
    });
  }

  /** A file as devices name it, undefined when there is none. */
  async file(repo: Repo, name: string): Promise<Uint8Array | undefined> {
    if (repo === 'image' && name === 'timestamp.json') {
      return (await latestDocument(this.#deps.store, 'image', 'timestamp'))?.bytes;
    }
    const [, version, role] = /^([1-9][0-9]{0,15})\.(root|snapshot|targets)\.json$/.exec(name) ?? [];
    if (!role || (repo === 'director' && role !== 'root')) return undefined;
    return documentAt(this.#deps.store, repo, role as 'root', Number(version));
  }

  /** Signs snapshot and timestamp again when half their life is over. True when it did. */
  async resignDue(now: Millis): Promise<boolean> {
    const timestamp = await latestDocument(this.#deps.store, 'image', 'timestamp');
    if (!timestamp) return false;
    const signed = readTimestamp(openDocument('timestamp', timestamp.bytes, 'timestamp'), 'timestamp');
    if (expiresAt(signed) - now > ONLINE_LIFETIME / 2) return false;
    await this.#deps.store.transaction().execute((tx) => this.#signOnline(tx));
    return true;
  }

  async #root(repo: Repo): Promise<Root> {
    const stored = await latestDocument(this.#deps.store, repo, 'root');
    if (stored) return loadRoot(ed25519Keys(this.#deps.verify), stored.bytes, `${repo} root`);
    throw new SkeinError('CONFLICT', 'there are no signed roots yet', {
      fix: 'Make them with `skein keys init`.',
    });
  }

  async #putRoot(
    tx: Transaction<Tables>,
    repo: Repo,
    bytes: Uint8Array,
    online: Partial<Record<TopRole, string>>,
  ): Promise<void> {
    const keys = ed25519Keys(this.#deps.verify);
    const what = `${repo} root`;
    const last = await latestDocument(tx, repo, 'root');
    if (last && sameBytes(last.bytes, bytes)) return;
    const root = last
      ? nextRoot(keys, loadRoot(keys, last.bytes, what), bytes, what)
      : loadRoot(keys, bytes, what);
    requireFresh(root, this.#deps.clock.now(), what);
    for (const [role, key] of Object.entries(online)) requireNamed(keys, root, role as TopRole, key, what);
    await putDocument(tx, repo, 'root', { version: root.version, bytes }, this.#deps.clock.now());
  }

  /** Snapshot and timestamp over the latest targets; nothing before there are any. */
  async #signOnline(tx: Transaction<Tables>): Promise<void> {
    const targets = await latestDocument(tx, 'image', 'targets');
    if (!targets) return;
    const { snapshot, timestamp } = this.#deps.online;
    const listed = { 'targets.json': describe(targets) };
    const made = await this.#signOne(tx, 'snapshot', listed, snapshot);
    await this.#signOne(tx, 'timestamp', { 'snapshot.json': describe(made) }, timestamp);
    await pruneDocuments(tx, 'snapshot', KEPT_VERSIONS);
    await pruneDocuments(tx, 'timestamp', KEPT_VERSIONS);
  }

  async #signOne(tx: Transaction<Tables>, role: 'snapshot' | 'timestamp', meta: object, signer: Signer) {
    const now = this.#deps.clock.now();
    const last = await latestDocument(tx, 'image', role);
    const version = Math.max((last?.version ?? 0) + 1, Math.floor(now / SECOND));
    const expires = dateOf(now + ONLINE_LIFETIME);
    const signed = { _type: role, spec_version: SPEC_VERSION, version, expires, meta };
    const document = { version, bytes: signDocument(signed, [signer]) };
    await putDocument(tx, 'image', role, document, now);
    return document;
  }
}

const describe = ({ version, bytes }: { version: number; bytes: Uint8Array }) => ({
  version,
  length: bytes.length,
  hashes: { sha256: sha256Hex(bytes) },
});

/** A root that leaves out this server's key would make it mute. */
function requireNamed(keys: ReadKey, root: Root, role: TopRole, key: string, what: string): void {
  const names = publicKeys(keys, root.keys, root.roles[role]);
  if (names.has(key) && root.roles[role].threshold === 1) return;
  throw new SkeinError('KEYS_INVALID', `${what}: role ${role} does not name this server’s online key`, {
    fix: 'Make the root with the keys that GET /v1/trust/online-keys shows (`skein keys init` does).',
  });
}

const conflict = (message: string) =>
  new SkeinError('CONFLICT', message, { fix: 'Fetch the latest targets and publish again.' });

const sameBytes = (a: Uint8Array, b: Uint8Array): boolean =>
  a.length === b.length && a.every((byte, at) => byte === b[at]);
