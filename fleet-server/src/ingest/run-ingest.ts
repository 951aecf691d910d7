/**
 * From the broker to the store: topic → device's key → signature → verdict → one transaction → signed ack.
 *
 * Invariants: an ack is published only after the commit of what it says; batches of one device are handled in the
 * order they came; several waiting batches share one transaction, and when that fails each is tried alone, so one
 * that cannot be stored holds up nobody else. Nothing that arrives can stop ingest: it is counted and reported.
 *
 * Limits: the queue's (`queue.ts`), each device's rates (`allowance.ts`), {@link GROUP} batches a transaction. What
 * finds no room makes its sender wait where the broker can hold it (embedded); else it is forgotten and the device
 * sends it again.
 */
import { ACK_DOMAIN, type AckMessage } from '@skein/protocol/batch/ack.ts';
import { sealShortAck } from '@skein/protocol/batch/short-ack.ts';
import { asSkeinError, SkeinError } from '@skein/protocol/errors.ts';
import type { Clock, Log, Signer, Timer } from '@skein/protocol/ports.ts';
import { parseTopic, topicFor } from '@skein/protocol/topics.ts';
import { sealEnvelope } from '@skein/protocol/trust/envelope.ts';
import { type Bytes, MIB, type Millis, SECOND } from '@skein/protocol/units.ts';
import type { Broker } from '../broker/port.ts';
import { readReportKeys, writeFaults } from '../store/sqlite-faults.ts';
import type { Store } from '../store/sqlite-store.ts';
import type { Rates } from './allowance.ts';
import { answeredHash, inWords, lastWords } from './answers.ts';
import { type CheckDeps, checkBatch } from './check-batch.ts';
import { createFaults, createHoleWatch, type FaultKind } from './faults.ts';
import { type IngestCounts, NOTHING_YET, type RecordSink } from './port.ts';
import { createQueue, type Waiting } from './queue.ts';
import { type Answer, runCommit, type Verified } from './run-commit.ts';

export interface IngestDeps extends CheckDeps {
  store: Store;
  broker: Broker;
  /** Named to the devices in the director's `ackKeys`. */
  ackSigner: Signer;
  clock: Clock;
  log: Log;
  sinks: readonly RecordSink[];
  /** Of one device. */
  rates?: Rates;
  /** While there is no room on the disk nothing is taken, and so nothing acknowledged. */
  disk?: { readonly fullSince: Millis | null; refused(): void };
  /** Incidents of these devices changed. */
  reported?(device: string): void;
}

export interface Ingest {
  readonly counts: Readonly<IngestCounts>;
  /** What waits now. */
  readonly waiting: { batches: number; bytes: Bytes };
  /** This device is nobody any more: what waits of it is dropped. Resolves when nothing of it is being stored. */
  forget(device: string): Promise<void>;
  /** Resolves when nothing is being stored any more; what waits is forgotten, devices send it again. */
  stop(): Promise<void>;
}

export const USUAL_RATES: Rates = { batchesPerSecond: 100, bytesPerSecond: 4 * MIB };

/** As many as wait: a commit costs the same for one or many. Bounded, so that nobody waits long for others. */
const GROUP = { batches: 256, bytes: 8 * MIB };
/** What a refused batch costs its device: verifying it was for nothing. */
const REFUSED_COST = 8;
/** Of an agent: four batches of each of four streams (`uplink/drain.ts`), and as many sent again. */
const WINDOWS = 32;
const FAULTS_MS: Millis = SECOND;

export function startIngest(deps: IngestDeps): Ingest {
  const ingest = new RunningIngest(deps);
  deps.broker.onMessage((topic, payload) => ingest.take(topic, payload));
  return ingest;
}

class RunningIngest implements Ingest {
  readonly counts: IngestCounts = { ...NOTHING_YET };
  readonly #deps: IngestDeps;
  readonly #queue;
  readonly #faults = createFaults();
  readonly #holes = createHoleWatch();
  #working: Promise<void> | undefined;
  /** The group, and the faults, that are being stored now. */
  #storing: Promise<unknown> = Promise.resolve();
  #wake: Timer | undefined;
  #faultTimer: Timer | undefined;
  #stopped = false;

  constructor(deps: IngestDeps) {
    this.#deps = deps;
    this.#queue = createQueue(deps.rates ?? USUAL_RATES, (device, waiting) => this.#slowed(device, waiting));
  }

  get waiting() {
    return { batches: this.#queue.size, bytes: this.#queue.bytes };
  }

  /** A promise: the sender should wait for it before more of it is read. */
  take(topic: string, payload: Uint8Array): Promise<void> | undefined {
    const parts = parseTopic(topic);
    if (this.#stopped || !parts?.channel.startsWith('batch/') || parts.fleet !== this.#deps.fleet) return;
    if (this.#deps.disk && this.#deps.disk.fullSince !== null) {
      this.counts.unstorable++;
      return;
    }
    const waiting: Waiting = { device: parts.device, channel: parts.channel, payload };
    const held = this.#queue.push(waiting) ? undefined : this.#noRoom(waiting);
    this.#start();
    return held;
  }

  #noRoom(waiting: Waiting): Promise<void> | undefined {
    if (!this.#deps.broker.holdsSenders) {
      this.counts.overflow++;
      return;
    }
    this.counts.held++;
    return new Promise((admitted) => this.#queue.hold(waiting, admitted));
  }

  async forget(device: string): Promise<void> {
    this.#queue.forget(device);
    await this.#storing;
    this.#faults.forget(device);
    this.#holes.forget(device);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#wake?.cancel();
    this.#faultTimer?.cancel();
    await this.#working;
    await this.#writeFaults();
  }

  #start(): void {
    if (this.#working || this.#stopped) return;
    this.#wake?.cancel();
    this.#wake = undefined;
    this.#working = this.#work().finally(() => {
      this.#working = undefined;
      this.#lookAgain();
    });
  }

  async #work(): Promise<void> {
    // Whatever arrived in the same turn joins the first group.
    await Promise.resolve();
    for (;;) {
      const group = this.#queue.take(GROUP.batches, GROUP.bytes, this.#deps.clock.mono());
      if (group.length === 0 || this.#stopped) return;
      await this.#store(this.#handle(group).catch((error) => this.#failed(error, group.length)));
    }
  }

  #store<T>(work: Promise<T>): Promise<T> {
    this.#storing = Promise.allSettled([this.#storing, work]);
    return work;
  }

  /** What is left belongs to devices over their rate. */
  #lookAgain(): void {
    const { clock } = this.#deps;
    const waitMs = this.#queue.nextInMs(clock.mono());
    if (waitMs === undefined || this.#stopped || this.#working) return;
    this.#wake = clock.after(waitMs, () => this.#start());
  }

  #slowed(device: string, waiting: number): void {
    this.counts.slowed++;
    // An agent that sends a long backlog is slowed too, but never has more than its windows on the way.
    if (waiting <= WINDOWS) return;
    const { batchesPerSecond, bytesPerSecond } = this.#deps.rates ?? USUAL_RATES;
    this.#note(device, 'flood', `more than ${batchesPerSecond} batches or ${bytesPerSecond} bytes a second`);
  }

  #failed(thrown: unknown, batches: number): void {
    this.counts.failed += batches;
    const { code, message } = isFull(thrown) ? diskFull(thrown) : asSkeinError(thrown);
    if (code === 'DISK_FULL') this.#deps.disk?.refused();
    this.#deps.log.error('ingest: not stored and not acknowledged', { code, message, batches });
  }

  async #handle(group: readonly Waiting[]): Promise<void> {
    const keys = await readReportKeys(this.#deps.store, [...new Set(group.map(({ device }) => device))]);
    const verified = group.flatMap((waiting) => this.#verify(waiting, keys.get(waiting.device)) ?? []);
    if (verified.length === 0) return;
    try {
      await this.#commit(verified);
    } catch (error) {
      if (verified.length === 1) throw error;
      for (const one of verified) await this.#commit([one]).catch((e) => this.#failed(e, 1));
    }
  }

  #verify(waiting: Waiting, key: Uint8Array | undefined): Verified | undefined {
    const { device, channel, payload } = waiting;
    // The clearing of a topic, heard back from an external broker: its device is gone.
    if (key === undefined && payload.length === 0) return undefined;
    try {
      return checkBatch(waiting, key, this.#deps);
    } catch (thrown) {
      const { code, message } = asSkeinError(thrown, 'BATCH_INVALID');
      const kind = code === 'BATCH_FORGED' ? 'forged' : 'invalid';
      this.counts[kind]++;
      this.#queue.charge(device, REFUSED_COST, this.#deps.clock.mono());
      this.#deps.log.warn('ingest: batch refused', { device, channel, code, message });
      // Of strangers nothing is kept: there may be any number of them.
      if (key !== undefined) this.#note(device, kind, message);
      return undefined;
    }
  }

  async #commit(verified: readonly Verified[]): Promise<void> {
    const answers = await this.#deps.store.transaction().execute((tx) => runCommit(tx, verified, this.#deps));
    for (const answer of answers) this.#count(answer);
    this.#announce(verified, answers);
    const { short, full } = inWords(lastWords(answers));
    await Promise.all([
      ...full.map((answer) => this.#publish(answer)),
      ...short.map(({ device, hashes }) => this.#publishShort(device, hashes)),
    ]);
  }

  #count({ verdict, records, device, ack, of }: Answer): void {
    const counter = { accept: 'accepted', duplicate: 'duplicates', gap: 'gaps', fork: 'forks' } as const;
    this.counts[counter[verdict]]++;
    this.counts.records += records;
    const stream = `${device}/${ack.stream}/${ack.epoch}`;
    if (verdict === 'accept') this.#holes.filled(stream);
    if (verdict === 'fork') this.#note(device, 'fork', `${ack.stream} after ${ack.upTo}: another chain`);
    if (verdict !== 'gap') return;
    const missing = this.#holes.hole(stream, of.batch.header, ack.upTo + 1, this.#deps.clock.mono());
    if (missing !== undefined) this.#note(device, 'missing', missing);
  }

  #note(device: string, kind: FaultKind, detail: string): void {
    const { clock } = this.#deps;
    this.#faults.note(device, kind, clock.now(), detail.slice(0, 300));
    if (this.#stopped) return;
    this.#faultTimer ??= clock.after(FAULTS_MS, () => {
      this.#faultTimer = undefined;
      void this.#store(this.#writeFaults());
    });
  }

  async #writeFaults(): Promise<void> {
    const { store, log, reported } = this.#deps;
    const noted = this.#faults.collect();
    if (noted.length === 0) return;
    // A flood may be of a stranger, or of a device that was erased meanwhile.
    const known = await readReportKeys(store, [...new Set(noted.map(({ device }) => device))]);
    const faults = noted.filter(({ device }) => known.has(device));
    for (const { device, kind, count, detail } of faults) {
      log.warn('ingest: device at fault', { device, kind, count, detail });
    }
    try {
      if (faults.length > 0) await writeFaults(store, faults);
      for (const device of new Set(faults.map((fault) => fault.device))) reported?.(device);
    } catch (error) {
      log.error('ingest: faults not written down', { error: String(error) });
    }
  }

  #announce(verified: readonly Verified[], answers: readonly Answer[]): void {
    const changed = answers.flatMap((a, i) => (a.verdict === 'accept' ? [verified[i]!.batch.header] : []));
    for (const sink of this.#deps.sinks) {
      const devices = changed.filter((h) => h.stream === sink.stream).map((h) => h.device);
      for (const device of new Set(devices)) sink.committed?.(device);
    }
  }

  #publish({ device, ack, of }: Answer): Promise<void> {
    const message: AckMessage = { ...ack, re: answeredHash(of) };
    const payload = new TextEncoder().encode(JSON.stringify(message));
    return this.#send(device, sealEnvelope(this.#deps.ackSigner, ACK_DOMAIN, device, payload));
  }

  #publishShort(device: string, hashes: readonly string[]): Promise<void> {
    return this.#send(device, sealShortAck(this.#deps.ackSigner, device, hashes));
  }

  async #send(device: string, bytes: Uint8Array): Promise<void> {
    const { broker, fleet, log } = this.#deps;
    try {
      await broker.publish(topicFor(fleet, device, 'ack'), bytes, { qos: 1, retain: false });
    } catch (error) {
      log.warn('ingest: ack not published; the device asks again', { device, error: String(error) });
    }
  }
}

const isFull = (thrown: unknown): boolean => (thrown as { code?: unknown } | null)?.code === 'SQLITE_FULL';
const diskFull = (cause: unknown) =>
  new SkeinError('DISK_FULL', 'the disk of the server is full', {
    cause,
    fix: 'Free space; devices keep their records and send them again.',
  });
