/**
 * The honest side of a campaign: the owner's offline keys (root 2 of 3, targets) and the server that signs freshness and
 * orders. It keeps what it ever served, which an attacker on the network has seen too, and what the offline keys ever
 * signed, which is the truth that the oracle holds a device against.
 */
import { type Manifest, manifestPath } from '@skein/protocol/manifest.ts';
import type { ModelTarget, Order } from '@skein/protocol/orders.ts';
import type { Signer } from '@skein/protocol/ports.ts';
import { directorSigned } from '@skein/protocol/trust/director.ts';
import { signDocument } from '@skein/protocol/trust/signing.ts';
import { DAY, type Millis, type Sha256Hex } from '@skein/protocol/units.ts';
import { hex, SimulatedTuf, sha256, signerOf } from '../../protocol/trust/simulated-repository.ts';
import { manifestOf } from '../repository.ts';
import type { Chance } from '../seeded.ts';

export const VICTIM = 'd-victim00000';
export const NEIGHBOUR = 'd-neighbour00';
export const HARDWARE = ['cpu'];
const ONLINE_DAYS = 7;

export interface Approved {
  custom: ModelTarget;
  manifestSha256: Sha256Hex;
  modelSha256: Sha256Hex;
}

/** One targets document of the offline key. */
export interface Listing {
  version: number;
  models: Approved[];
}

/** One document of the server's director key. */
export interface Given {
  version: number;
  orders: readonly Order[];
}

/** Everything that could be fetched at one moment. */
export interface Served {
  image: Record<string, Uint8Array>;
  director: Record<string, Uint8Array>;
  orders: ReadonlyMap<string, Uint8Array>;
  /** What the targets in it approve of. */
  models: readonly Approved[];
}

export interface OnlineKeys {
  snapshot: Signer;
  timestamp: Signer;
  director: Signer;
}

const known = new Map<string, Signer>();
/** Making a key costs as much as signing with it. */
export function keyOf(name: string): Signer {
  const signer = known.get(name) ?? signerOf(name);
  known.set(name, signer);
  return signer;
}

const encoder = new TextEncoder();

export class Honest {
  readonly image = new SimulatedTuf('image');
  readonly director = new SimulatedTuf('director');
  readonly blobs = new Map<Sha256Hex, Uint8Array>();
  /** By the SHA-256 of the signed document. */
  readonly listings = new Map<Sha256Hex, Listing>();
  readonly history: Served[] = [];
  models: Approved[] = [];
  /** What the server ever said to the victim, by the SHA-256 of the signed document. */
  readonly given = new Map<Sha256Hex, Given>();
  readonly #orders = new Map<string, Order[]>();
  readonly #chance: Chance;
  #now: Millis;
  #releases = 0;
  #orderCount = 0;
  #directorVersion = 0;
  #signedAt = Number.NEGATIVE_INFINITY;

  constructor(chance: Chance, now: Millis) {
    this.#chance = chance;
    this.#now = now;
    for (const side of [this.image, this.director]) {
      side.signers.root = ['a', 'b', 'c'].map((name) => keyOf(`${side.name} root ${name}`));
      side.thresholds.root = 2;
      side.publishRoot(side.signers.root);
    }
  }

  get online(): OnlineKeys {
    const { snapshot, timestamp } = this.image.signers;
    return { snapshot: snapshot[0]!, timestamp: timestamp[0]!, director: this.director.signers.targets[0]! };
  }

  /** What enrolment pins. */
  get roots(): [Uint8Array, Uint8Array] {
    return [this.image.files['2.root.json']!, this.director.files['2.root.json']!];
  }

  get directorVersion(): number {
    return this.#directorVersion;
  }

  floorOf(model: string): number {
    return Math.max(0, ...this.models.filter((m) => m.custom.model === model).map((m) => m.custom.floor));
  }

  /** @param raise makes the new release the smallest that may run */
  approve(model: string, { tags = ['cpu'], raise = false } = {}): Approved {
    const release = ++this.#releases;
    const version = `1.${release}.0`;
    const file = this.#store(this.#chance.entropy().bytes(200 + this.#chance.below(200)));
    const golden = this.#store(encoder.encode(`golden ${release}`));
    const manifest: Manifest = { ...manifestOf(version, file, golden), name: model };
    const target = this.#store(encoder.encode(JSON.stringify(manifest)));
    const floor = raise ? release : this.floorOf(model);
    const made = {
      custom: { model, version, release, floor, tags },
      manifestSha256: target.sha256,
      modelSha256: file.sha256,
    };
    this.models.push(made);
    this.image.targets[manifestPath(model, version)] = {
      length: target.size,
      hashes: { sha256: target.sha256 },
      custom: made.custom,
    };
    this.#publish();
    return made;
  }

  /** What is left of the model keeps its floor, as the publisher's tool does it. */
  revoke(gone: Approved): void {
    const { model, version, floor } = gone.custom;
    this.models = this.models.filter((one) => one !== gone);
    delete this.image.targets[manifestPath(model, version)];
    for (const { custom } of this.models) {
      if (custom.model === model) custom.floor = Math.max(floor, custom.floor);
    }
    this.#publish();
  }

  order(device: string, { custom: { model, version } }: Approved): Order {
    const order = orderFor(`o-${++this.#orderCount}`, model, version);
    const others = (this.#orders.get(device) ?? []).filter((o) => o.model !== model);
    this.#orders.set(device, [...others, order]);
    this.#signOnline();
    return order;
  }

  /** Signs again what has lived half of its life. */
  tick(now: Millis): void {
    this.#now = now;
    if (now - this.#signedAt < (ONLINE_DAYS / 2) * DAY) return;
    if (this.image.expires.targets - now < 60 * DAY) this.#publish();
    else this.#signOnline();
  }

  /** After a theft: the holders of the offline root keys name new online keys. */
  recover(now: Millis): void {
    this.#now = now;
    for (const side of [this.image, this.director]) {
      side.expires.root = now + 700 * DAY;
      for (const role of ['snapshot', 'timestamp', 'targets'] as const) {
        if (role === 'targets' && side === this.image) continue;
        const { version } = { version: side.versions.root + 1 };
        side.signers[role] = [keyOf(`${side.name} ${role} ${version}`)];
      }
      side.publishRoot();
    }
    this.#publish();
  }

  /** The holder of the targets key changes. */
  rotateTargets(now: Millis): void {
    this.#now = now;
    this.image.signers.targets = [keyOf(`image targets ${this.image.versions.root + 1}`)];
    this.image.publishRoot();
    this.#publish();
  }

  #publish(): void {
    this.image.expires.targets = this.#now + 365 * DAY;
    this.image.publish(['targets']);
    const bytes = this.image.files[`${this.image.versions.targets}.targets.json`]!;
    const models = this.models.map((one) => ({ ...one, custom: { ...one.custom } }));
    this.listings.set(sha256(bytes), { version: this.image.versions.targets, models });
    this.#signOnline();
  }

  #signOnline(): void {
    this.#signedAt = this.#now;
    const expiresAt = this.#now + ONLINE_DAYS * DAY;
    this.image.expires = { ...this.image.expires, snapshot: expiresAt, timestamp: expiresAt };
    this.image.publish(['snapshot', 'timestamp']);
    const version = ++this.#directorVersion;
    const orders = [VICTIM, NEIGHBOUR].map(
      (device) => [device, this.#ordersFor(device, version, expiresAt)] as const,
    );
    const said = sha256(orders[0]![1]);
    this.given.set(said, { version, orders: this.#orders.get(VICTIM) ?? [] });
    this.history.push({
      image: { ...this.image.files },
      director: { ...this.director.files },
      orders: new Map(orders),
      models: [...this.models],
    });
  }

  #ordersFor(device: string, version: number, expiresAt: Millis): Uint8Array {
    const orders = this.#orders.get(device) ?? [];
    const paths = orders.map(({ model, version: wanted }) => manifestPath(model, wanted));
    const listed = paths.flatMap((path) => {
      const file = this.image.targets[path];
      return file ? [[path, { length: file.length, hashes: file.hashes }] as const] : [];
    });
    const said = saidTo(device, this.image.versions.snapshot, orders);
    const signed = directorSigned({ version, expiresAt, orders: said, targets: Object.fromEntries(listed) });
    return signDocument(signed, this.director.signers.targets);
  }

  #store(bytes: Uint8Array): { sha256: Sha256Hex; size: number } {
    this.blobs.set(sha256(bytes), bytes);
    return { sha256: sha256(bytes), size: bytes.length };
  }
}

const ACK_KEY = hex(keyOf('ack').publicKey);

export const saidTo = (device: string, imageSnapshotVersion: number, orders: Order[]) => ({
  device,
  imageSnapshotVersion,
  ackKeys: [ACK_KEY],
  orders,
});

export const orderFor = (id: string, model: string, version: string): Order => ({
  id,
  rollout: 'r-1',
  model,
  version,
  probation: { minInferences: 5, minMs: 1_000, deadlineMs: 60_000, maxErrorRate: 0.05, maxLatencyRatio: 3 },
  freshWithinMs: 600_000,
});
