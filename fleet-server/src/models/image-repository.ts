/**
 * The image repository as this server serves it. Roots and targets come signed from offline keys and are held to the
 * same verifier as on a device before they are stored; snapshot and timestamp are signed here and give freshness
 * only. Roots are replaced only along their chain. Online versions are max(last + 1, unix seconds), so a server that
 * was restored from a backup is still obeyed.
 */
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Clock, Signer, Verify } from '@skein/protocol/ports.ts';
import { sha256Hex } from '@skein/protocol/sha256.ts';
import { ONLINE_LIFETIME, type Repo } from '@skein/protocol/trust/expiry.ts';
import {
  dateOf,
  expiresAt,
  openDocument,
  type Root,
  readRoot,
  readTimestamp,
} from '@skein/protocol/trust/metadata.ts';
import { loadRoot } from '@skein/protocol/trust/root-chain.ts';
import { ed25519Keys, type ReadKey } from '@skein/protocol/trust/signatures.ts';
import { SPEC_VERSION, signDocument } from '@skein/protocol/trust/signing.ts';
import { type Millis, SECOND } from '@skein/protocol/units.ts';
import type { Transaction } from 'kysely';
import type { Blobs } from '../blobs/port.ts';
import type { Tables } from '../store/schema.ts';
import type { Store } from '../store/sqlite-store.ts';
import { type NamedRole, type OnlineKeyring, requireSigner, settleKeys } from './online-keys.ts';
import { registerModels } from './registry.ts';
import { checkRoot, forgetsVersions, withdrawnBy } from './root-upload.ts';
import {
  type Db,
  documentAt,
  dropDocuments,
  latestDocument,
  pruneDocuments,
  putDocument,
} from './trust-documents.ts';
import { checkTargets, isSignedUnder, type SignedModel } from './upload-check.ts';

const KEPT_VERSIONS = 20;

export interface ImageRepositoryDeps {
  store: Store;
  blobs: Blobs;
  clock: Clock;
  verify: Verify;
  online: OnlineKeyring;
}

export interface RootsAndTargets extends Record<Repo, Uint8Array> {
  /** With roots that withdraw the publisher's key. */
  targets?: Uint8Array;
}

export class ImageRepository {
  readonly #deps: ImageRepositoryDeps;
  readonly #keys: ReadKey;

  constructor(deps: ImageRepositoryDeps) {
    this.#deps = deps;
    this.#keys = ed25519Keys(deps.verify);
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

  /**
   * The next roots of both chains; the same bytes again change nothing. Targets come along when the new root withdraws
   * the key that signed the present ones, so that devices never see one without the other.
   * @throws SkeinError METADATA_*, SIGNATURE_INVALID, KEYS_INVALID, CONFLICT
   */
  async putRoots(roots: RootsAndTargets): Promise<void> {
    const known = await this.latestTargets();
    const isNew = roots.targets !== undefined && !(known && sameBytes(known, roots.targets));
    const models = isNew ? await this.#checkTargets(roots.image, roots.targets!) : undefined;
    await this.#deps.store.transaction().execute((tx) => this.#putBoth(tx, roots, models));
    await this.settle();
  }

  /** Begins anew, with no regard to what was: for roots whose threshold is lost. @throws as {@link putRoots} */
  async replaceRoots(roots: RootsAndTargets): Promise<void> {
    const models = roots.targets && (await this.#checkTargets(roots.image, roots.targets, true));
    await this.#deps.store.transaction().execute(async (tx) => {
      await dropDocuments(tx, 'image', ['root', 'targets', ...(await this.#spent(tx))]);
      await dropDocuments(tx, 'director', ['root']);
      await tx.deleteFrom('director_documents').execute();
      await this.#putBoth(tx, roots, models);
    });
    await this.settle();
  }

  /** After a start too: a key that the stored roots name takes over, whatever a crash left. */
  async settle(): Promise<void> {
    const roots = await this.latestRoots();
    if (!roots) return;
    const { online } = this.#deps;
    const [image, director] = [readPlain(roots.image), readPlain(roots.director)];
    if (image && director) settleKeys(online, { image, director }, this.#keys);
  }

  /** @throws SkeinError METADATA_*, SIGNATURE_INVALID, CONFLICT, MANIFEST_INVALID, NOT_FOUND (a blob is missing) */
  async putTargets(bytes: Uint8Array): Promise<void> {
    const { store } = this.#deps;
    const root = await latestDocument(store, 'image', 'root');
    if (!root) throw noRoots();
    const last = await latestDocument(store, 'image', 'targets');
    if (last && sameBytes(last.bytes, bytes)) return;
    const models = await this.#checkTargets(root.bytes, bytes);
    await store.transaction().execute(async (tx) => {
      const now = await latestDocument(tx, 'image', 'targets');
      if (now?.version !== last?.version) throw conflict('other targets were uploaded meanwhile');
      await this.#storeTargets(tx, bytes, models);
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

  /**
   * Held against the root it comes under, and against the present targets: unless that root withdraws what they and
   * their version rest on, for then devices forget them as well.
   */
  async #checkTargets(rootBytes: Uint8Array, bytes: Uint8Array, anew = false): Promise<CheckedTargets> {
    const { store, blobs, clock } = this.#deps;
    const root = loadRoot(this.#keys, rootBytes, 'image root');
    const [before, last] = await Promise.all([
      latestDocument(store, 'image', 'root'),
      latestDocument(store, 'image', 'targets'),
    ]);
    const withdrawn = before ? withdrawnBy(this.#keys, before.bytes, root) : [];
    const forgotten =
      anew || (forgetsVersions(withdrawn) && !(last && isSignedUnder(this.#keys, root, last.bytes)));
    const context = { keys: this.#keys, root, now: clock.now(), blobs };
    const { targets, models } = await checkTargets(bytes, forgotten ? undefined : last, context);
    return { version: targets.version, models };
  }

  async #storeTargets(tx: Transaction<Tables>, bytes: Uint8Array, { version, models }: CheckedTargets) {
    const now = this.#deps.clock.now();
    await putDocument(tx, 'image', 'targets', { version, bytes }, now);
    await registerModels(tx, models, now);
  }

  async #putBoth(
    tx: Transaction<Tables>,
    roots: RootsAndTargets,
    models: CheckedTargets | undefined,
  ): Promise<void> {
    await this.#putRoot(tx, 'image', roots.image);
    await this.#putRoot(tx, 'director', roots.director);
    if (models) await this.#storeTargets(tx, roots.targets!, models);
    await this.#requireTargets(tx);
    // Withdrawn online keys: what they signed must not be served any longer.
    await this.#signOnline(tx);
  }

  async #putRoot(tx: Transaction<Tables>, repo: Repo, bytes: Uint8Array): Promise<void> {
    const { clock, online } = this.#deps;
    const last = await latestDocument(tx, repo, 'root');
    if (last && sameBytes(last.bytes, bytes)) return;
    const root = checkRoot(repo, bytes, last, { keys: this.#keys, online, now: clock.now() });
    if (last) await this.#withdraw(tx, repo, withdrawnBy(this.#keys, last.bytes, root));
    await putDocument(tx, repo, 'root', { version: root.version, bytes }, clock.now());
  }

  /** Versions that a withdrawn key vouched for are no floor any more: a thief may have driven them to their end. */
  async #withdraw(tx: Transaction<Tables>, repo: Repo, roles: ReturnType<typeof withdrawnBy>): Promise<void> {
    if (repo === 'image') return dropDocuments(tx, repo, roles);
    if (roles.includes('targets')) await tx.deleteFrom('director_documents').execute();
  }

  /**
   * Online documents whose version a thief drove to where nothing can follow. Others stay, and are followed: devices
   * whose roots name the same online keys go on until they are enrolled again.
   */
  async #spent(tx: Transaction<Tables>): Promise<('snapshot' | 'timestamp')[]> {
    const seconds = this.#deps.clock.now() / SECOND;
    const spent: ('snapshot' | 'timestamp')[] = [];
    for (const role of ['snapshot', 'timestamp'] as const) {
      const last = await latestDocument(tx, 'image', role);
      if (last && last.version > 2 * seconds) spent.push(role);
    }
    return spent;
  }

  /** A root that leaves devices without any list of models would stop every installation. */
  async #requireTargets(tx: Transaction<Tables>): Promise<void> {
    const known = await tx.selectFrom('models').select('name').limit(1).executeTakeFirst();
    if (!known || (await latestDocument(tx, 'image', 'targets'))) return;
    throw new SkeinError('CONFLICT', 'this root withdraws the key that signed the present list of models', {
      fix: 'Sign the list with the new key and upload both together: `skein keys rotate --role targets` does.',
    });
  }

  /** Snapshot and timestamp over the latest targets; nothing before there are any. */
  async #signOnline(tx: Transaction<Tables>): Promise<void> {
    const targets = await latestDocument(tx, 'image', 'targets');
    if (!targets) return;
    const root = await latestDocument(tx, 'image', 'root');
    const parsed = root && readPlain(root.bytes);
    if (!parsed) throw noRoots();
    const signer = (role: NamedRole) => requireSigner(this.#deps.online, role, parsed, this.#keys);
    const listed = { 'targets.json': describe(targets) };
    const made = await this.#signOne(tx, 'snapshot', listed, signer('snapshot'));
    await this.#signOne(tx, 'timestamp', { 'snapshot.json': describe(made) }, signer('timestamp'));
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

interface CheckedTargets {
  version: number;
  models: SignedModel[];
}

/** A stored root: verified when it was uploaded. undefined: it is none (an old or foreign database). */
function readPlain(bytes: Uint8Array): Root | undefined {
  try {
    return readRoot(openDocument('root', bytes, 'stored root'), 'stored root');
  } catch {
    return undefined;
  }
}

const noRoots = () =>
  new SkeinError('CONFLICT', 'there are no signed roots yet', { fix: 'Make them with `skein keys init`.' });

const conflict = (message: string) =>
  new SkeinError('CONFLICT', message, { fix: 'Fetch the latest targets and publish again.' });

const sameBytes = (a: Uint8Array, b: Uint8Array): boolean =>
  a.length === b.length && a.every((byte, at) => byte === b[at]);
