/**
 * The director's desk: standing orders per device, and the one signed document that tells a device of them. The
 * document is made when it is fetched, kept, and made again when what it says changes or half its life is over. Its
 * version is max(last + 1, unix seconds), so a server restored from a backup is still obeyed.
 */
import { bytesToHex } from '@noble/hashes/utils.js';
import { SkeinError } from '@skein/protocol/errors.ts';
import { manifestPath } from '@skein/protocol/manifest.ts';
import type { DirectorOrders, Order } from '@skein/protocol/orders.ts';
import type { Clock, Signer } from '@skein/protocol/ports.ts';
import { sha256Hex } from '@skein/protocol/sha256.ts';
import { directorSigned } from '@skein/protocol/trust/director.ts';
import { ONLINE_LIFETIME } from '@skein/protocol/trust/expiry.ts';
import { openDocument, readRoot, readTargets, type TargetFile } from '@skein/protocol/trust/metadata.ts';
import { ed25519Keys } from '@skein/protocol/trust/signatures.ts';
import { signDocument } from '@skein/protocol/trust/signing.ts';
import { type Millis, SECOND } from '@skein/protocol/units.ts';
import type { Transaction } from 'kysely';
import { isErased } from '../erasure/identity.ts';
import { newestSigner, type OnlineKeyring, requireSigner } from '../models/online-keys.ts';
import { type Db, latestDocument } from '../models/trust-documents.ts';
import type { Tables } from '../store/schema.ts';
import type { Store } from '../store/sqlite-store.ts';

/** Only names are read with it; nothing is verified here. */
const keys = ed25519Keys(() => false);

export interface DirectorDeps {
  store: Store;
  clock: Clock;
  online: OnlineKeyring;
  /** Tells the device that there is something new (`desired`); a hint, so it may fail or be lost. */
  announce(device: string, directorVersion: number): void;
}

interface Content {
  orders: DirectorOrders;
  targets: Record<string, TargetFile>;
}

export class Director {
  readonly #deps: DirectorDeps;

  constructor(deps: DirectorDeps) {
    this.#deps = deps;
  }

  /** Replaces all orders of a device, in the caller's transaction; {@link announce} it after the commit. */
  async setOrders(tx: Transaction<Tables>, device: string, orders: readonly Order[]): Promise<void> {
    await tx.deleteFrom('orders').where('device', '=', device).execute();
    for (const order of orders) await putOrder(tx, device, order);
  }

  /**
   * From now on `device` should do `order` about `model` (null: nothing). Idempotent.
   * @param onlyOver rollouts: change nothing when the standing order is of none of them; null: whatever stands
   */
  async set(
    device: string,
    model: string,
    order: Order | null,
    onlyOver: readonly string[] | null,
  ): Promise<void> {
    const changed = await this.#deps.store.transaction().execute(async (tx) => {
      if (await isErased(tx, device)) return false;
      const standing = (await this.orders(device, tx)).find((known) => known.model === model);
      if (onlyOver !== null && standing && !onlyOver.includes(standing.rollout)) return false;
      await tx.deleteFrom('orders').where('device', '=', device).where('model', '=', model).execute();
      if (order) await putOrder(tx, device, order);
      return true;
    });
    if (changed) await this.announce(device);
  }

  /** Standing orders, by model. */
  async orders(device: string, db: Db = this.#deps.store): Promise<Order[]> {
    const rows = await (db as Store)
      .selectFrom('orders')
      .select('order_json')
      .where('device', '=', device)
      .orderBy('model')
      .execute();
    return rows.map((row) => JSON.parse(row.order_json) as Order);
  }

  async announce(device: string): Promise<void> {
    if (await isErased(this.#deps.store, device)) return;
    this.#deps.announce(device, await this.directorVersion(device));
  }

  /** Documents past half of their life are made anew and their devices told; a device that polls finds them anyway. */
  async announceDue(now: Millis): Promise<number> {
    const due = await this.#deps.store
      .selectFrom('director_documents')
      .select('device')
      .where('expires_at', '<=', now + ONLINE_LIFETIME / 2)
      .where('device', 'not in', (devices) =>
        devices.selectFrom('devices').select('id').where('revoked_at', 'is not', null),
      )
      .orderBy('expires_at')
      .execute();
    for (const { device } of due) await this.announce(device);
    return due.length;
  }

  /** Version of the document that the device would fetch now. */
  async directorVersion(device: string): Promise<number> {
    return (await this.#current(device)).version;
  }

  /** The signed document, current. */
  async document(device: string): Promise<Uint8Array> {
    return (await this.#current(device)).bytes;
  }

  #current(device: string): Promise<{ version: number; bytes: Uint8Array }> {
    return this.#deps.store.transaction().execute(async (tx) => {
      if (await isErased(tx, device)) throw new SkeinError('NOT_FOUND', `${device} was erased`);
      const now = this.#deps.clock.now();
      const content = await this.#content(tx, device);
      const signer = await this.#signer(tx);
      const said = JSON.stringify([content, bytesToHex(signer.publicKey)]);
      const hash = sha256Hex(new TextEncoder().encode(said));
      const kept = await tx
        .selectFrom('director_documents')
        .selectAll()
        .where('device', '=', device)
        .executeTakeFirst();
      const young = kept !== undefined && kept.expires_at - now > ONLINE_LIFETIME / 2;
      if (kept && young && kept.content_hash === hash) {
        return { version: kept.version, bytes: new Uint8Array(kept.bytes) };
      }
      const version = Math.max((kept?.version ?? 0) + 1, Math.floor(now / SECOND));
      return this.#sign(tx, device, content, { version, hash, signer, expiresAt: now + ONLINE_LIFETIME });
    });
  }

  async #sign(
    tx: Transaction<Tables>,
    device: string,
    content: Content,
    {
      version,
      hash,
      signer,
      expiresAt,
    }: { version: number; hash: string; signer: Signer; expiresAt: Millis },
  ): Promise<{ version: number; bytes: Uint8Array }> {
    const signed = directorSigned({ ...content, version, expiresAt });
    const bytes = signDocument(signed, [signer]);
    const row = { version, expires_at: expiresAt, content_hash: hash, bytes };
    await tx
      .insertInto('director_documents')
      .values({ device, ...row })
      .onConflict((clash) => clash.column('device').doUpdateSet(row))
      .execute();
    return { version, bytes };
  }

  async #content(tx: Transaction<Tables>, device: string): Promise<Content> {
    const orders = await this.orders(device, tx);
    const snapshot = await latestDocument(tx, 'image', 'snapshot');
    const approved = await approvedTargets(tx);
    const named = orders
      .map((order) => manifestPath(order.model, order.version))
      .flatMap((path) => (approved[path] ? [[path, withoutCustom(approved[path])] as const] : []));
    return {
      orders: {
        device,
        imageSnapshotVersion: snapshot?.version ?? 1,
        ackKeys: [bytesToHex(newestSigner(this.#deps.online, 'ack').publicKey)],
        orders,
      },
      targets: Object.fromEntries(named),
    };
  }

  /** The key that the director's root names; nobody can read a document before there is one. */
  async #signer(tx: Transaction<Tables>): Promise<Signer> {
    const { online } = this.#deps;
    const stored = await latestDocument(tx, 'director', 'root');
    if (!stored) return newestSigner(online, 'director');
    // Verified when it was uploaded.
    const root = readRoot(openDocument('root', stored.bytes, 'director root'), 'director root');
    return requireSigner(online, 'director', root, keys);
  }
}

async function putOrder(tx: Transaction<Tables>, device: string, order: Order): Promise<void> {
  await tx
    .insertInto('orders')
    .values({ device, model: order.model, rollout: order.rollout, order_json: JSON.stringify(order) })
    .execute();
}

/** Verified when they were uploaded. */
async function approvedTargets(tx: Transaction<Tables>): Promise<Readonly<Record<string, TargetFile>>> {
  const stored = await latestDocument(tx, 'image', 'targets');
  return stored
    ? readTargets(openDocument('targets', stored.bytes, 'image targets'), 'image targets').targets
    : {};
}

const withoutCustom = ({ length, hashes }: TargetFile): TargetFile => ({ length, hashes });
