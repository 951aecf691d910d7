/**
 * A repository whose every document a test may falsify before it is signed or served; it *is* the fetcher.
 * `image` and `director` hold the plain `signed` objects; `publish*` signs what they say at that moment.
 */
import { createHash } from 'node:crypto';
import { nativeSigner } from '@skein/agent/system-clock.ts';
import type { Fetcher } from '@skein/agent/update/ports.ts';
import { SkeinError } from '@skein/protocol/errors.ts';
import { manifestPath } from '@skein/protocol/manifest.ts';
import type { DirectorOrders, ModelTarget, Order } from '@skein/protocol/orders.ts';
import type { Signer } from '@skein/protocol/ports.ts';
import { directorSigned } from '@skein/protocol/trust/director.ts';
import { dateOf, type TargetFile, type TufKey } from '@skein/protocol/trust/metadata.ts';
import { keyIdOf, signDocument, tufKey } from '@skein/protocol/trust/signing.ts';
import { DAY } from '@skein/protocol/units.ts';

export const START = Date.parse('2026-01-01T00:00:00Z');
export const DEVICE = 'd-aaaaaaaaaa';

export const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
export const sha256 = (bytes: Uint8Array | string): string =>
  createHash('sha256').update(bytes).digest('hex');
/** A key that is the same in every run. */
export const signerOf = (name: string): Signer =>
  nativeSigner(new Uint8Array(createHash('sha256').update(`test key ${name}`).digest()));

export const roleOf = (signers: readonly Signer[], threshold = signers.length) => ({
  keyids: signers.map((s) => keyIdOf(hex(s.publicKey))),
  threshold,
});
export const keysOf = (signers: readonly Signer[]): Record<string, TufKey> =>
  Object.fromEntries(signers.map((s) => [keyIdOf(hex(s.publicKey)), tufKey(hex(s.publicKey))]));

export type Role = 'root' | 'timestamp' | 'snapshot' | 'targets';
type Signers = Record<Role, Signer[]>;
const ROLES: Role[] = ['root', 'timestamp', 'snapshot', 'targets'];

/** One TUF repository: root always, the rest when `publish` is called. */
export class SimulatedTuf {
  signers: Signers;
  thresholds: Record<Role, number>;
  expires = {
    root: START + 700 * DAY,
    timestamp: START + 7 * DAY,
    snapshot: START + 7 * DAY,
    targets: START + 365 * DAY,
  };
  versions: Record<Role, number> = { root: 0, timestamp: 0, snapshot: 0, targets: 0 };
  targets: Record<string, TargetFile> = {};
  /** `custom` of the top-level targets. */
  targetsCustom: object | undefined;
  delegations: { keys: Record<string, TufKey>; roles: object[] } | undefined;
  /** Delegated role → its signed part and signers. */
  delegated: Record<
    string,
    { version: number; targets: Record<string, TargetFile>; signers: Signer[]; delegations?: object }
  > = {};
  /** Last chance to falsify a `signed` part before it is signed. */
  tamper: Partial<Record<string, (signed: Record<string, unknown>) => void>> = {};
  /** File name → bytes, as served. */
  files: Record<string, Uint8Array> = {};
  name: string;

  constructor(name: string) {
    this.name = name;
    this.signers = Object.fromEntries(ROLES.map((r) => [r, [signerOf(`${name} ${r}`)]])) as Signers;
    this.thresholds = { root: 1, timestamp: 1, snapshot: 1, targets: 1 };
    this.publishRoot();
  }

  /** Signed by the given signers as well, as a rotation must be. */
  publishRoot(alsoBy: Signer[] = []): Uint8Array {
    const version = ++this.versions.root;
    const signed = {
      ...this.#head('root', version),
      consistent_snapshot: true,
      keys: keysOf(ROLES.flatMap((role) => this.signers[role])),
      roles: Object.fromEntries(ROLES.map((r) => [r, roleOf(this.signers[r], this.thresholds[r])])),
    };
    return this.#sign(`${version}.root.json`, 'root', signed, [
      ...new Set([...this.signers.root, ...alsoBy]),
    ]);
  }

  rotate(role: Role, by = signerOf(`${this.name} ${role} ${this.versions.root + 1}`)): void {
    const old = this.signers.root;
    this.signers[role] = [by];
    this.publishRoot(old);
  }

  publish(roles: ('targets' | 'snapshot' | 'timestamp')[] = ['targets', 'snapshot', 'timestamp']): void {
    if (roles.includes('targets')) this.#publishTargets();
    if (roles.includes('snapshot')) this.#publishSnapshot();
    if (roles.includes('timestamp')) this.#publishTimestamp();
  }

  #publishTargets(): void {
    const version = ++this.versions.targets;
    const delegations = this.delegations ? { delegations: this.delegations } : {};
    const custom = this.targetsCustom ? { custom: this.targetsCustom } : {};
    const signed = { ...this.#head('targets', version), targets: this.targets, ...delegations, ...custom };
    this.#sign(`${version}.targets.json`, 'targets', signed, this.signers.targets);
    for (const [name, role] of Object.entries(this.delegated)) {
      const part = { ...this.#head('targets', role.version), targets: role.targets };
      const whole = role.delegations ? { ...part, delegations: role.delegations } : part;
      this.#sign(`${role.version}.${name}.json`, name, whole, role.signers);
    }
  }

  #publishSnapshot(): void {
    const version = ++this.versions.snapshot;
    const delegated = Object.entries(this.delegated).map(([name, r]) => [
      `${name}.json`,
      { version: r.version },
    ]);
    const meta = { 'targets.json': { version: this.versions.targets }, ...Object.fromEntries(delegated) };
    this.#sign(
      `${version}.snapshot.json`,
      'snapshot',
      { ...this.#head('snapshot', version), meta },
      this.signers.snapshot,
    );
  }

  #publishTimestamp(): void {
    const version = ++this.versions.timestamp;
    const bytes = this.files[`${this.versions.snapshot}.snapshot.json`]!;
    const named = {
      version: this.versions.snapshot,
      length: bytes.length,
      hashes: { sha256: sha256(bytes) },
    };
    const signed = { ...this.#head('timestamp', version), meta: { 'snapshot.json': named } };
    this.#sign('timestamp.json', 'timestamp', signed, this.signers.timestamp);
  }

  #head(type: Role, version: number): Record<string, unknown> {
    return { _type: type, spec_version: '1.0.34', version, expires: dateOf(this.expires[type]) };
  }

  #sign(file: string, role: string, signed: Record<string, unknown>, signers: Signer[]): Uint8Array {
    if (Object.hasOwn(this.tamper, role)) this.tamper[role]?.(signed);
    const bytes = signDocument(signed, signers);
    this.files[file] = bytes;
    return bytes;
  }
}

export const probation = {
  minInferences: 20,
  minMs: 1000,
  deadlineMs: 60_000,
  maxErrorRate: 0.05,
  maxLatencyRatio: 2.5,
};

export const orderOf = (model: string, version: string, extra: Partial<Order> = {}): Order => ({
  id: `o-${model}-${version}`,
  rollout: 'r-1',
  model,
  version,
  probation,
  freshWithinMs: 600_000,
  ...extra,
});

/** Both repositories, and the fetcher a device would have. */
export class SimulatedRepositories implements Fetcher {
  image = new SimulatedTuf('image');
  director = new SimulatedTuf('director');
  orders: Order[] = [];
  directorVersion = 0;
  directorExpires = START + 7 * DAY;
  directorTargets: Record<string, TargetFile> | undefined;
  ackKeys = [hex(signerOf('ack').publicKey)];
  /** Requests made, in order. */
  fetched: string[] = [];
  /** May replace any answer; `undefined` falls through to the honest one. */
  intercept: (path: string) => Uint8Array | Error | undefined = () => undefined;
  /** Changes what the director says about itself before it signs. */
  tamperOrders: (orders: DirectorOrders) => DirectorOrders = (orders) => orders;

  /** Adds a model to the image targets; call `publish` after. */
  addModel(name: string, version: string, release: number, extra: Partial<ModelTarget> = {}): TargetFile {
    const bytes = Buffer.from(`manifest of ${name}@${version}`);
    const custom: ModelTarget = { model: name, version, release, floor: 0, tags: [], ...extra };
    const file = { length: bytes.length, hashes: { sha256: sha256(bytes) }, custom };
    this.image.targets[manifestPath(name, version)] = file;
    return file;
  }

  publish(): void {
    this.image.publish();
    this.publishDirector();
  }

  publishDirector(device = DEVICE): Uint8Array {
    const paths = this.orders.map((order) => manifestPath(order.model, order.version));
    const known = paths.filter((path) => this.image.targets[path]);
    const targets =
      this.directorTargets ??
      Object.fromEntries(known.map((p) => [p, withoutCustom(this.image.targets[p]!)]));
    const orders = this.tamperOrders({
      device,
      imageSnapshotVersion: this.image.versions.snapshot,
      ackKeys: this.ackKeys,
      orders: this.orders,
    });
    const signed = directorSigned({
      version: ++this.directorVersion,
      expiresAt: this.directorExpires,
      orders,
      targets,
    });
    this.director.files['targets.json'] = signDocument(signed, this.director.signers.targets);
    return this.director.files['targets.json'];
  }

  async document(path: string, maxBytes: number): Promise<Uint8Array | undefined> {
    this.fetched.push(path);
    const replaced = this.intercept(path);
    if (replaced instanceof Error) throw replaced;
    const [, , repository, file] = path.split('/') as ['', 'v1', 'image' | 'director', string];
    const bytes = replaced ?? this[repository].files[decodeURIComponent(file)];
    if (bytes && bytes.length > maxBytes) throw new SkeinError('PAYLOAD_TOO_LARGE', path);
    return bytes;
  }

  // biome-ignore lint/correctness/useYield: a trust refresh reads no blobs
  async *blob(): AsyncIterable<Uint8Array> {
    throw new SkeinError('DOWNLOAD_FAILED', 'this repository has no blobs');
  }
}

const withoutCustom = ({ length, hashes }: TargetFile): TargetFile => ({ length, hashes });
