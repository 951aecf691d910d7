/**
 * One device's deliveries through everything at once, by seed: the real outbox, drain, ingest and store over a virtual
 * clock and a simulated broker. The agent and the server die, the link is cut or stalls, the disk refuses, the clock is
 * at 1970 or steps, the broker lies or is wiped, the server comes back from a backup, delivered batches are kept for a day
 * or for minutes. In the end all heals and drains, and the auditor of `npm run chaos` reads both files.
 */
import { copyFileSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { nativeCodecs } from '@skein/fleet-server/node-codecs.ts';
import { openSqliteStore, type Store } from '@skein/fleet-server/store/sqlite-store.ts';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Clock } from '@skein/protocol/ports.ts';
import { type Channel, STREAMS, type Stream, topicFor } from '@skein/protocol/topics.ts';
import { DAY, HOUR, MINUTE, type Millis, SECOND } from '@skein/protocol/units.ts';
import Database from 'better-sqlite3';
import type { Outbox } from '../../../agent/src/outbox/port.ts';
import { openSqliteOutbox } from '../../../agent/src/outbox/sqlite-outbox.ts';
import { createDrain, type Drain } from '../../../agent/src/uplink/drain.ts';
import { type Ingest, startIngest } from '../../../fleet-server/src/ingest/run-ingest.ts';
import { type Account, audit } from '../../../scripts/chaos/audit.ts';
import { Observer } from '../../../scripts/chaos/observer.ts';
import { readServer } from '../../../scripts/chaos/sqlite-files.ts';
import { testSigner, testVerify } from '../../protocol/batch/random.ts';
import { Chance } from '../seeded.ts';
import { VirtualTime } from '../virtual-time.ts';
import { SimBroker, SimLink } from './broker.ts';

const FLEET = 'home';
const DEVICE = 'd-1';
const SERVER = testSigner('server');
const DEVICE_KEY = testSigner('device');
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const quiet = { info() {}, warn() {}, error() {} };

/** Here no death undoes a step. */
const READ_AGAIN = 64;
/** How long the storm lasts, and how long what is left may take. */
const STORM_MS: Millis = HOUR;
const CALM_MS: Millis = DAY;

export interface DeliveryResult {
  seed: number;
  accounts: Account[];
  deaths: number;
  lies: number;
  faults: Record<string, number>;
  /** What was not stored, waiting or named as it should; none: the promise holds. */
  findings: string[];
}

export async function runDelivery(seed: number): Promise<DeliveryResult> {
  const folder = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'skein-delivery-'));
  const world = new DeliveryWorld(seed, folder);
  try {
    return await world.live();
  } finally {
    await world.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

const FAULTS = [
  'agent',
  'agent',
  'server',
  'cut',
  'stall',
  'disk',
  'clock',
  'hostile',
  'hostile',
  'wiped',
  'restored',
] as const;
type Fault = (typeof FAULTS)[number];
const CLOCK_STEPS: readonly Millis[] = [-40 * DAY, -HOUR, 90 * SECOND, HOUR, 5 * DAY];
/** Whatever writes. */
const WRITES = new Set([
  'commit',
  'seal',
  'delivered',
  'rewind',
  'settle',
  'askAgain',
  'offerNewest',
  'abandonEpoch',
]);

class DeliveryWorld {
  readonly #seed: number;
  readonly #folder: string;
  readonly #time = new VirtualTime();
  readonly #chance: Chance;
  readonly #broker: SimBroker;
  readonly #observer: Observer;
  readonly #keepMs: Millis;
  readonly #faults: Record<string, number> = {};
  #outbox: Outbox | undefined;
  #drain: Drain | undefined;
  /** What the agent would be told by the server's own words. */
  #serverBegan = false;
  #link: SimLink | undefined;
  #store: Store | undefined;
  #ingest: Ingest | undefined;
  #life = 0;
  #deaths = 0;
  #made = 0;
  #cut = false;
  #diskFails = false;
  #restoring = false;
  #storming = true;
  #skewMs: Millis | 'no clock' = 0;

  constructor(seed: number, folder: string) {
    this.#seed = seed;
    this.#folder = folder;
    this.#chance = new Chance(seed);
    this.#broker = new SimBroker(this.#time, this.#chance);
    this.#observer = new Observer(join(folder, 'outbox.db'), folder, READ_AGAIN);
    this.#keepMs = this.#chance.is(0.3) ? this.#chance.between(MINUTE, 20 * MINUTE) : DAY;
  }

  async live(): Promise<DeliveryResult> {
    await this.#openStore();
    this.#startIngest();
    this.#boot();
    this.#produce();
    this.#storm();
    await this.#run(() => this.#time.now >= STORM_MS && !this.#restoring, 2 * STORM_MS);
    this.#calm();
    const drained = () => this.#outbox!.ledger().every(({ pending }) => pending === 0);
    await this.#run(drained, this.#time.now + CALM_MS);
    const waits = drained() ? [] : [`not drained within a day: ${JSON.stringify(this.#outbox!.ledger())}`];
    await this.close();
    this.#observer.readDead();
    const { seen, changed, claimed, last } = this.#observer;
    const server = readServer(join(this.#folder, 'store.db')).get(DEVICE) ?? [];
    const accounts = audit({ device: DEVICE, streams: last!.streams, seen, changed, claimed, server });
    const findings = [...waits, ...accounts.flatMap((account) => account.findings)];
    return { ...this.#figures(), accounts, findings };
  }

  #figures() {
    return { seed: this.#seed, deaths: this.#deaths, lies: this.#broker.lies, faults: this.#faults };
  }

  async close(): Promise<void> {
    this.#die();
    await this.#ingest?.stop();
    this.#ingest = undefined;
    await this.#store?.destroy();
    this.#store = undefined;
  }

  async #run(until: () => boolean, deadline: Millis): Promise<void> {
    while (!until() && (await this.#time.step(deadline)));
  }

  /** A clock that may be wrong, of a process that may be dead. */
  #clock(alive: () => boolean): Clock {
    const right = this.#time.clock(alive);
    const now = () => (this.#skewMs === 'no clock' ? 20_000 + right.mono() : right.now() + this.#skewMs);
    return { ...right, now };
  }

  #boot(): void {
    const life = ++this.#life;
    const alive = () => this.#life === life;
    const clock = this.#clock(alive);
    const topicOf = (channel: Channel) => topicFor(FLEET, DEVICE, channel);
    const entropy = this.#chance.entropy();
    const link = new SimLink(this.#broker, topicOf);
    const path = join(this.#folder, 'outbox.db');
    const ids = { fleet: FLEET, device: DEVICE, clock, entropy };
    const outbox = openSqliteOutbox({
      ...ids,
      path,
      signer: DEVICE_KEY,
      reserveBytes: 0,
      keepMs: this.#keepMs,
    });
    this.#outbox = this.#onBadDisk(outbox);
    this.#drain = createDrain({
      ...{ link, outbox: this.#outbox, device: DEVICE, verify: testVerify, clock, entropy, log: quiet },
      ackKeys: () => [hex(SERVER.publicKey)],
      batchIntervalMs: 20 * SECOND,
      serverBegan: () => {
        const was = this.#serverBegan;
        this.#serverBegan = false;
        return was;
      },
      takesNonces: () => true,
      trouble: () => {},
    });
    this.#link = link;
    this.#serverBegan = true;
    this.#drain.start();
    if (!this.#cut) link.start();
  }

  /** What is not committed is gone; what is, lies still and is read. */
  #die(): void {
    if (!this.#outbox) return;
    this.#life++;
    for (const { stream, accepted } of this.#outbox.ledger()) this.#observer.claim(stream, accepted);
    this.#drain!.stop();
    this.#outbox.close();
    this.#outbox = undefined;
    this.#observer.readDead();
  }

  #onBadDisk(outbox: Outbox): Outbox {
    const refuses = (name: string) => WRITES.has(name) && this.#diskFails && this.#chance.is(0.7);
    return new Proxy(outbox, {
      get: (target, name: keyof Outbox) => {
        const member = target[name] as (...args: unknown[]) => unknown;
        return (...args: unknown[]) => {
          if (refuses(name))
            throw new SkeinError(this.#chance.pick(['DISK_FULL', 'DISK_FAILED']), 'simulated');
          return member.apply(target, args);
        };
      },
    });
  }

  /** Readings, health, and now and then the rare ones; some are committed at once. */
  #produce(): void {
    if (!this.#storming) return;
    this.#time.after(this.#chance.between(SECOND, 15 * SECOND), () => this.#produce());
    if (!this.#outbox) return;
    for (let n = this.#chance.below(4); n >= 0; n--) this.#append('predictions');
    if (this.#chance.is(0.2)) this.#append('health');
    if (this.#chance.is(0.02)) this.#append('drift');
    if (this.#chance.is(0.02)) this.#append('events');
    if (this.#chance.is(0.6)) this.#commit();
  }

  #append(stream: Stream): void {
    const i = this.#made++;
    const record = {
      ts: this.#time.wall,
      mono: this.#time.now,
      boot: `life-${this.#life}`,
      kind: 'update',
      i,
    };
    this.#outbox!.append(stream, record as never);
  }

  /** What was delivered may be gone before the next death: a clock that jumps makes it old. */
  get #forgetsSoon(): boolean {
    return this.#keepMs < DAY || this.#skewMs !== 0;
  }

  #commit(): void {
    try {
      this.#outbox!.commit();
      if (this.#forgetsSoon) this.#observer.readDead();
    } catch {
      // It stays in memory, and is tried again.
    }
  }

  #storm(): void {
    if (!this.#storming) return;
    this.#time.after(this.#chance.between(20 * SECOND, 6 * MINUTE), () => this.#storm());
    const fault = this.#chance.pick(FAULTS);
    this.#faults[fault] = (this.#faults[fault] ?? 0) + 1;
    this.#begin(fault, this.#chance.between(5 * SECOND, 8 * MINUTE));
  }

  #begin(fault: Fault, forMs: Millis): void {
    const later = (heal: () => void) => void this.#time.after(forMs, heal);
    switch (fault) {
      case 'agent':
        this.#die();
        this.#deaths++;
        later(() => this.#storming && !this.#outbox && this.#boot());
        break;
      case 'server':
        this.#killServer();
        later(() => this.#startIngest());
        break;
      case 'cut':
        this.#cut = true;
        void this.#link?.stop();
        later(() => this.#reconnect());
        break;
      case 'stall':
        this.#broker.stalled = true;
        later(() => {
          this.#broker.stalled = false;
        });
        break;
      case 'disk':
        this.#diskFails = true;
        later(() => {
          this.#diskFails = false;
        });
        break;
      case 'clock':
        if (this.#outbox) this.#observer.readDead();
        this.#skewMs = this.#chance.is(0.4) ? 'no clock' : this.#chance.pick(CLOCK_STEPS);
        later(() => {
          this.#skewMs = 0;
        });
        break;
      case 'hostile':
        this.#broker.hostile = true;
        later(() => {
          this.#broker.hostile = false;
        });
        break;
      case 'wiped':
        this.#broker.wipe();
        void this.#link?.stop();
        this.#reconnect();
        break;
      case 'restored':
        void this.#restore(forMs);
        break;
      default:
        fault satisfies never;
    }
  }

  #reconnect(): void {
    this.#cut = false;
    if (this.#outbox && !this.#link!.connected) this.#link!.start();
  }

  async #openStore(): Promise<void> {
    const path = join(this.#folder, 'store.db');
    const isNew = !existsSync(path);
    this.#store = await openSqliteStore(path);
    if (!isNew) return;
    const row = { name: 'sim', groups_json: '[]', cert_serial: '1', cert_not_after: 0, enrolled_at: 0 };
    const keys = { report_key: hex(DEVICE_KEY.publicKey), revoked_at: null };
    await this.#store
      .insertInto('devices')
      .values({ id: DEVICE, ...keys, ...row } as never)
      .execute();
  }

  #startIngest(): void {
    if (this.#ingest || !this.#store) return;
    const clock = this.#time.clock(() => true);
    const ports = { store: this.#store, broker: this.#broker.port(), clock, log: quiet, sinks: [] };
    this.#serverBegan = true;
    const keys = { ackSigner: SERVER, verify: testVerify, codecs: nativeCodecs };
    this.#ingest = startIngest({ ...ports, ...keys, fleet: FLEET });
  }

  /** What waits there is forgotten, and nothing more is heard. */
  #killServer(): void {
    void this.#broker.port().close();
    void this.#ingest?.stop();
    this.#ingest = undefined;
  }

  async #restore(afterMs: Millis): Promise<void> {
    if (this.#restoring || !this.#store) return;
    this.#restoring = true;
    const [path, backup] = ['store.db', 'backup.db'].map((name) => join(this.#folder, name)) as [
      string,
      string,
    ];
    await this.#reopened(() => copyFileSync(path, backup));
    this.#time.after(afterMs, async () => {
      await this.#reopened(() => copyFileSync(backup, path));
      this.#restoring = false;
    });
  }

  /** Closed for good, the file is whole without its log. */
  async #reopened(meanwhile: () => void): Promise<void> {
    void this.#broker.port().close();
    const [ingest, store] = [this.#ingest, this.#store];
    this.#ingest = undefined;
    this.#store = undefined;
    await ingest?.stop();
    await store?.destroy();
    meanwhile();
    await this.#openStore();
    this.#startIngest();
  }

  /** Everything is well. A stream of which no copy is left has one more thing to say; the others ask by themselves. */
  #calm(): void {
    this.#storming = false;
    this.#diskFails = false;
    this.#skewMs = 0;
    this.#broker.hostile = false;
    this.#broker.stalled = false;
    this.#startIngest();
    this.#die();
    this.#cut = false;
    this.#boot();
    for (const stream of STREAMS) if (!this.#keepsNewest(stream)) this.#append(stream);
    this.#commit();
    this.#drain!.send();
  }

  #keepsNewest(stream: Stream): boolean {
    const database = new Database(join(this.#folder, 'outbox.db'), { readonly: true });
    const newest = this.#outbox!.mark(stream).deliveredNext - 1;
    const kept = database
      .prepare('SELECT 1 FROM batches WHERE stream = ? AND to_seq = ? AND bridge = 0')
      .get(STREAMS.indexOf(stream), newest);
    database.close();
    return kept !== undefined;
  }
}
