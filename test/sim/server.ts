/**
 * The server's side of the world: the real rollout shell and machine over a store that survives crashes, director
 * documents signed by real keys, and an inbox that takes the next sequence of a device only.
 */

import { manifestPath } from '@skein/protocol/manifest.ts';
import type { Order } from '@skein/protocol/orders.ts';
import type { UpdateReport } from '@skein/protocol/records.ts';
import { directorSigned } from '@skein/protocol/trust/director.ts';
import { signDocument } from '@skein/protocol/trust/signing.ts';
import { DAY, MINUTE, SECOND } from '@skein/protocol/units.ts';
import type { OrderDesk } from '../../fleet-server/src/rollouts/port.ts';
import { RolloutRunner } from '../../fleet-server/src/rollouts/run-rollouts.ts';
import { hex, signerOf } from '../protocol/trust/simulated-repository.ts';
import type { SimNetwork } from './network.ts';
import { MODEL, type SimRepository } from './repository.ts';
import { MemoryRollouts } from './rollout-store.ts';
import type { Chance } from './seeded.ts';
import type { VirtualTime } from './virtual-time.ts';

interface Desk {
  version: number;
  order: Order | null;
  signed: Uint8Array | undefined;
  image: number;
}

const ACK_KEY = hex(signerOf('ack').publicKey);
const quiet = { info() {}, warn() {}, error() {} };

export class SimServer implements OrderDesk {
  readonly store = new MemoryRollouts();
  /** Every version that was ever ordered from a device. */
  readonly everOrdered = new Map<string, Set<string>>();
  /** Every report that was accepted, by device. */
  readonly reports = new Map<string, UpdateReport[]>();
  readonly #desks = new Map<string, Desk>();
  readonly #nextSeq = new Map<string, number>();
  readonly #time: VirtualTime;
  readonly #chance: Chance;
  readonly #repository: SimRepository;
  readonly #network: SimNetwork;
  #runner!: RolloutRunner;
  #life = 0;
  crashes = 0;
  /** Probability that a write is the last thing it does. */
  crashAtWrite = 0;
  /** Batches are taken one after the other, as transactions are. */
  #line: Promise<void> = Promise.resolve();
  /** Tells a device that there is something new. */
  announce: (device: string) => void = () => {};

  constructor(time: VirtualTime, chance: Chance, repository: SimRepository, network: SimNetwork) {
    this.#time = time;
    this.#chance = chance;
    this.#repository = repository;
    this.#network = network;
    this.start();
  }

  get rollouts(): RolloutRunner {
    return this.#runner;
  }

  start(): void {
    const life = ++this.#life;
    const alive = () => this.#life === life && this.#network.serverUp;
    this.#network.serverUp = true;
    this.#line = Promise.resolve();
    const store = mortal(this.store, alive, () => this.#write());
    const desk: OrderDesk = mortal({ set: this.set.bind(this) }, alive, () => this.#write());
    this.#runner = new RolloutRunner({ store, desk, clock: this.#time.clock(alive), log: quiet });
    void this.#runner.start();
  }

  /** A write takes a moment, in which others write, or the server dies. */
  #write(): Promise<void> {
    if (this.#chance.is(this.crashAtWrite)) this.#time.after(0, () => this.crashAndReturn());
    return this.#time.wait(this.#chance.between(0.2, 5));
  }

  /** Everything in memory is gone; rows, effects and desks stay. */
  crashAndReturn(): void {
    if (!this.#network.serverUp) return;
    this.crashes++;
    this.#network.serverUp = false;
    this.#life++;
    this.#time.after(this.#chance.between(SECOND, MINUTE), () => this.start());
  }

  async set(
    device: string,
    _model: string,
    order: Order | null,
    onlyOver: readonly string[] | null,
  ): Promise<void> {
    const desk = this.#desk(device);
    if (onlyOver !== null && desk.order && !onlyOver.includes(desk.order.rollout)) return;
    this.order(device, order);
  }

  /** Sets an order whatever rollouts say: also what a hostile director would do. */
  order(device: string, order: Order | null): void {
    const desk = this.#desk(device);
    desk.order = order;
    desk.signed = undefined;
    if (order) this.everOrdered.set(device, (this.everOrdered.get(device) ?? new Set()).add(order.version));
    this.announce(device);
  }

  standing(device: string): Order | null {
    return this.#desk(device).order;
  }

  document(device: string, path: string): Uint8Array | undefined {
    const [, , repository, file] = path.split('/') as ['', 'v1', 'image' | 'director', string];
    if (repository === 'director' && file === 'targets.json') return this.#directorDocument(device);
    return this.#repository[repository].files[file];
  }

  blob(sha256: string): Uint8Array | undefined {
    return this.#repository.blobs.get(sha256);
  }

  /** Takes the next sequence, acknowledges older ones again; returns the sequence it wants next. */
  accept(device: string, seq: number, reports: readonly UpdateReport[]): Promise<number> {
    const taken = this.#line.then(() => this.#take(device, seq, reports));
    this.#line = taken.then(
      () => undefined,
      () => undefined,
    );
    return taken;
  }

  async #take(device: string, seq: number, reports: readonly UpdateReport[]): Promise<number> {
    const life = this.#life;
    const wanted = this.#nextSeq.get(device) ?? 0;
    if (seq !== wanted) return wanted;
    const stored = this.reports.get(device) ?? [];
    for (const report of reports) {
      if (stored.some((known) => known.id === report.id)) continue;
      await this.#runner.hear(
        mortal(
          this.store,
          () => this.#life === life,
          () => this.#write(),
        ),
        device,
        report,
      );
      stored.push(report);
    }
    if (this.#life !== life) return wanted;
    this.#nextSeq.set(device, seq + reports.length);
    this.reports.set(device, stored);
    void this.#runner.settle();
    return seq + reports.length;
  }

  #desk(device: string): Desk {
    const known = this.#desks.get(device);
    if (known) return known;
    const made: Desk = { version: 0, order: null, signed: undefined, image: 0 };
    this.#desks.set(device, made);
    return made;
  }

  #directorDocument(device: string): Uint8Array {
    const desk = this.#desk(device);
    const { image, director } = this.#repository;
    if (desk.signed && desk.image === image.versions.snapshot) return desk.signed;
    desk.image = image.versions.snapshot;
    desk.version++;
    const path = desk.order ? manifestPath(MODEL, desk.order.version) : '';
    const target = image.targets[path];
    const signed = directorSigned({
      version: desk.version,
      expiresAt: this.#time.wall + 30 * DAY,
      orders: {
        device,
        imageSnapshotVersion: desk.image,
        ackKeys: [ACK_KEY],
        orders: desk.order ? [desk.order] : [],
      },
      targets: target ? { [path]: { length: target.length, hashes: target.hashes } } : {},
    });
    desk.signed = signDocument(signed, director.signers.targets);
    return desk.signed;
  }
}

const WRITES: readonly PropertyKey[] = ['save', 'effectDone', 'set'];

/** Calls of a process that has died never return; what it had not written by then is never written. */
function mortal<T extends object>(target: T, alive: () => boolean, write: () => Promise<void>): T {
  return new Proxy(target, {
    get(of, key) {
      const value = Reflect.get(of, key) as unknown;
      if (typeof value !== 'function') return value;
      return async (...given: unknown[]) => {
        if (WRITES.includes(key)) await write();
        return alive() ? value.apply(of, given) : new Promise(() => {});
      };
    },
  });
}
