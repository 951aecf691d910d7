/**
 * From the broker to the store: topic → device's key → signature → verdict → one transaction → signed ack.
 *
 * Invariants: an ack is published only after the commit of what it says; batches of one device are handled in the
 * order they came; several waiting batches share one transaction, and when that fails each is tried alone, so one
 * that cannot be stored holds up nobody else. Nothing that arrives can stop ingest: it is counted and reported.
 *
 * Limits: the queue's (`queue.ts`; beyond: forgotten, the device sends again), {@link GROUP} batches a transaction.
 */
import { ACK_DOMAIN, type AckMessage } from '@skein/protocol/batch/ack.ts';
import type { Codecs } from '@skein/protocol/batch/body.ts';
import { openBatch, readRecords, verifyBatch } from '@skein/protocol/batch/sealed.ts';
import { MAX_ANSWERED, sealShortAck } from '@skein/protocol/batch/short-ack.ts';
import { asSkeinError, SkeinError } from '@skein/protocol/errors.ts';
import type { Clock, Log, Signer, Verify } from '@skein/protocol/ports.ts';
import { batchChannel, parseTopic, topicFor } from '@skein/protocol/topics.ts';
import { sealEnvelope } from '@skein/protocol/trust/envelope.ts';
import type { Broker } from '../broker/port.ts';
import type { Store } from '../store/sqlite-store.ts';
import type { IngestCounts, RecordSink } from './port.ts';
import { createQueue, type Waiting } from './queue.ts';
import { type Answer, bytesHash, runCommit, type Verified } from './run-commit.ts';

export interface IngestDeps {
  store: Store;
  broker: Broker;
  fleet: string;
  /** Named to the devices in the director's `ackKeys`. */
  ackSigner: Signer;
  verify: Verify;
  /** Default: the portable ones, which are slow, and no zstd. */
  codecs?: Codecs;
  clock: Clock;
  log: Log;
  sinks: readonly RecordSink[];
}

export interface Ingest {
  readonly counts: Readonly<IngestCounts>;
  /** Resolves when nothing is being stored any more; what waits is forgotten, devices send it again. */
  stop(): Promise<void>;
}

/** As many as wait: a commit costs the same for one or many. Bounded, so that nobody waits long for others. */
const GROUP = 256;

export function startIngest(deps: IngestDeps): Ingest {
  const ingest = new RunningIngest(deps);
  deps.broker.onMessage((topic, payload) => ingest.take(topic, payload));
  return ingest;
}

class RunningIngest implements Ingest {
  readonly counts: IngestCounts = {
    accepted: 0,
    records: 0,
    duplicates: 0,
    gaps: 0,
    forks: 0,
    invalid: 0,
    forged: 0,
    overflow: 0,
    failed: 0,
  };
  readonly #deps: IngestDeps;
  readonly #queue = createQueue();
  #working: Promise<void> | undefined;
  #stopped = false;

  constructor(deps: IngestDeps) {
    this.#deps = deps;
  }

  take(topic: string, payload: Uint8Array): void {
    const parts = parseTopic(topic);
    if (this.#stopped || !parts?.channel.startsWith('batch/') || parts.fleet !== this.#deps.fleet) return;
    if (!this.#queue.push({ device: parts.device, channel: parts.channel, payload })) {
      this.counts.overflow++;
      return;
    }
    this.#working ??= this.#work();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#working;
  }

  async #work(): Promise<void> {
    // Whatever arrived in the same turn joins the first group.
    await Promise.resolve();
    for (let group = this.#queue.take(GROUP); group.length > 0; group = this.#queue.take(GROUP)) {
      if (this.#stopped) break;
      await this.#handle(group).catch((error) => this.#failed(error, group.length));
    }
    this.#working = undefined;
  }

  #failed(thrown: unknown, batches: number): void {
    this.counts.failed += batches;
    const { code, message } = asSkeinError(thrown);
    this.#deps.log.error('ingest: not stored and not acknowledged', { code, message, batches });
  }

  async #handle(group: readonly Waiting[]): Promise<void> {
    const keys = await this.#reportKeys([...new Set(group.map((waiting) => waiting.device))]);
    const verified = group.flatMap((waiting) => this.#verify(waiting, keys.get(waiting.device)) ?? []);
    if (verified.length === 0) return;
    try {
      await this.#commit(verified);
    } catch (error) {
      if (verified.length === 1) throw error;
      for (const one of verified) await this.#commit([one]).catch((e) => this.#failed(e, 1));
    }
  }

  /** Of devices that are enrolled and not revoked. */
  async #reportKeys(devices: readonly string[]): Promise<Map<string, Uint8Array>> {
    const rows = await this.#deps.store
      .selectFrom('devices')
      .select(['id', 'report_key'])
      .where('id', 'in', devices)
      .where('revoked_at', 'is', null)
      .execute();
    return new Map(rows.map((row) => [row.id, new Uint8Array(Buffer.from(row.report_key, 'hex'))]));
  }

  #verify({ device, channel, payload }: Waiting, key: Uint8Array | undefined): Verified | undefined {
    try {
      const batch = openBatch(payload);
      const { header } = batch;
      const elsewhere = header.device !== device || header.fleet !== this.#deps.fleet;
      if (elsewhere || batchChannel(header.stream) !== channel) {
        throw new SkeinError(
          'BATCH_FORGED',
          `a batch of ${header.device}/${header.stream} on ${device}/${channel}`,
        );
      }
      if (key === undefined) throw new SkeinError('BATCH_FORGED', `${device} is not enrolled or was revoked`);
      verifyBatch(batch, this.#deps.verify, key);
      return { batch, bytes: payload, records: readRecords(batch, this.#deps.codecs) };
    } catch (thrown) {
      const { code, message } = asSkeinError(thrown, 'BATCH_INVALID');
      this.counts[code === 'BATCH_FORGED' ? 'forged' : 'invalid']++;
      this.#deps.log.warn('ingest: batch refused', { device, channel, code, message });
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

  #count({ verdict, records }: Answer): void {
    const counter = { accept: 'accepted', duplicate: 'duplicates', gap: 'gaps', fork: 'forks' } as const;
    this.counts[counter[verdict]]++;
    this.counts.records += records;
  }

  #announce(verified: readonly Verified[], answers: readonly Answer[]): void {
    const changed = answers.flatMap((a, i) => (a.verdict === 'accept' ? [verified[i]!.batch.header] : []));
    for (const sink of this.#deps.sinks) {
      const devices = changed.filter((h) => h.stream === sink.stream).map((h) => h.device);
      for (const device of new Set(devices)) sink.committed?.(device);
    }
  }

  #publish({ device, ack, of }: Answer): Promise<void> {
    const message: AckMessage = { ...ack, re: bytesHash(of) };
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

/** An ack speaks for all before it, but every bridge gets an answer of its own. */
function lastWords(answers: readonly Answer[]): Answer[] {
  const last = new Map(answers.map((a) => [`${a.device}/${a.ack.stream}/${a.ack.epoch}`, a]));
  return answers.filter((a) => a.ack.stored !== undefined || [...last.values()].includes(a));
}

/**
 * Who sends the second form is answered in short where there is no more to say than that this very batch is stored and
 * nothing behind it: together for all streams of a device, one signature.
 */
function inWords(answers: readonly Answer[]): {
  short: { device: string; hashes: string[] }[];
  full: Answer[];
} {
  const fits = ({ of: { batch }, ack }: Answer) =>
    batch.body.encoding === 'compact' && batch.header.bridge === null && ack.head === batch.head;
  const short: { device: string; hashes: string[] }[] = [];
  for (const { device, of } of answers.filter(fits)) {
    const open = short.find((one) => one.device === device && one.hashes.length < MAX_ANSWERED);
    if (open) open.hashes.push(of.batch.head);
    else short.push({ device, hashes: [of.batch.head] });
  }
  return { short, full: answers.filter((answer) => !fits(answer)) };
}
