/**
 * The outside auditor: values read from both files and what the observer saw, number by number. Every number that an
 * epoch ever gave is stored at the server once, waiting, or named as dropped, lost or unknown; nothing else may be, and
 * the agent's own sums have to come to the same.
 */
import type { Stream } from '@skein/protocol/topics.ts';
import { placeOf } from './observer.ts';
import type { Loss, OutboxStream, StoredBatch } from './sqlite-files.ts';

export interface Evidence {
  device: string;
  /** Of the outbox when all was over. */
  streams: readonly OutboxStream[];
  /** Place → hash of every record ever seen in the outbox. */
  seen: ReadonlyMap<string, string>;
  changed: readonly string[];
  claimed: ReadonlyMap<string, number>;
  /** In the order of arrival. */
  server: readonly StoredBatch[];
}

export interface Account {
  device: string;
  stream: Stream;
  accepted: number;
  stored: number;
  pending: number;
  dropped: number;
  lost: number;
  unknown: number;
  duplicates: number;
  /** Exact ranges of what is named. */
  losses: readonly Loss[];
  /** What does not hold; none when the ledger closes. */
  findings: string[];
}

export const audit = (evidence: Evidence): Account[] =>
  evidence.streams.map((own) => new StreamAudit(evidence, own).account());

/** What one number is, by everybody's word. */
interface Fate {
  stored: number;
  pending: boolean;
  loss: Loss['kind'] | undefined;
  hash: string | undefined;
}

class StreamAudit {
  readonly #evidence: Evidence;
  readonly #own: OutboxStream;
  readonly #epochs = new Map<string, Map<number, Fate>>();
  readonly #findings: string[] = [];
  /** Hash → where the server has it. */
  readonly #contents = new Map<string, string>();
  #whereabouts: Map<string, Set<string>> | undefined;
  #duplicates = 0;

  constructor(evidence: Evidence, own: OutboxStream) {
    this.#evidence = evidence;
    this.#own = own;
  }

  account(): Account {
    this.#gather();
    const sums = { stored: 0, pending: 0, dropped: 0, lost: 0, unknown: 0, carried: 0 };
    for (const [epoch, numbers] of this.#epochs) {
      for (const [seq, fate] of numbers) sums[this.#judge(epoch, seq, fate)]++;
    }
    this.#compare(sums);
    const { carried, ...rest } = sums;
    const { device } = this.#evidence;
    const { stream, losses, accepted } = this.#own;
    return {
      device,
      stream,
      accepted,
      ...rest,
      duplicates: this.#duplicates,
      losses,
      findings: this.#findings,
    };
  }

  #fate(epoch: string, seq: number): Fate {
    const numbers = this.#epochs.get(epoch) ?? new Map<number, Fate>();
    this.#epochs.set(epoch, numbers);
    const fate = numbers.get(seq) ?? { stored: 0, pending: false, loss: undefined, hash: undefined };
    numbers.set(seq, fate);
    return fate;
  }

  #gather(): void {
    const { stream, epoch, nextSeq, losses, pending } = this.#own;
    for (const [place, hash] of this.#evidence.seen) {
      const [of, at, seq] = place.split('/') as [string, string, string];
      if (of === stream) this.#fate(at, Number(seq)).hash = hash;
    }
    for (let seq = 0; seq < nextSeq; seq++) this.#fate(epoch, seq);
    for (const seq of pending) this.#fate(epoch, seq).pending = true;
    for (const loss of losses) {
      for (let seq = loss.from; seq <= loss.to; seq++) {
        const fate = this.#fate(loss.epoch, seq);
        if (fate.loss) this.#find(`${loss.epoch}/${seq} is given up twice: ${fate.loss} and ${loss.kind}`);
        fate.loss = loss.kind;
      }
    }
    this.#gatherServer();
  }

  #gatherServer(): void {
    const { stream } = this.#own;
    const next = new Map<string, number>();
    for (const batch of this.#evidence.server.filter((one) => one.stream === stream)) {
      if (batch.seq < (next.get(batch.epoch) ?? 0))
        this.#find(`${batch.epoch}/${batch.seq} came out of order`);
      next.set(batch.epoch, batch.seq + batch.n);
      if (batch.records.length !== batch.n)
        this.#find(`${batch.epoch}/${batch.seq} does not hold ${batch.n} records`);
      for (const record of batch.records) this.#gatherStored(placeOf(record), record);
    }
  }

  #gatherStored(place: string, { epoch, seq, hash }: StoredBatch['records'][number]): void {
    const fate = this.#fate(epoch, seq);
    fate.stored++;
    const elsewhere = this.#contents.get(hash);
    if (fate.stored > 1) this.#duplicate(`${place} is stored twice`);
    else if (elsewhere !== undefined) this.#duplicate(`${place} says what ${elsewhere} says`);
    this.#contents.set(hash, place);
    if (fate.hash === undefined) this.#find(`${place} was never accepted`);
    else if (fate.hash !== hash) this.#find(`${place} is not what was accepted`);
  }

  #duplicate(what: string): void {
    this.#duplicates++;
    this.#find(what);
  }

  #judge(
    epoch: string,
    seq: number,
    fate: Fate,
  ): 'stored' | 'pending' | 'dropped' | 'lost' | 'unknown' | 'carried' {
    const place = `${epoch}/${seq}`;
    // Nobody knows whether the server has it: both may be.
    if (fate.loss === 'unknown') return 'unknown';
    if (fate.loss && fate.stored > 0) this.#find(`${place} is named ${fate.loss}, and the server has it`);
    if (fate.loss && fate.pending) this.#find(`${place} is named ${fate.loss}, and waits to be sent`);
    if (fate.loss) return fate.loss;
    if (fate.pending) return 'pending';
    if (fate.stored > 0) return 'stored';
    // A new epoch began, and what was not delivered went over to it under new numbers.
    if (epoch !== this.#own.epoch && fate.hash !== undefined && this.#isElsewhere(epoch, fate.hash))
      return 'carried';
    this.#find(`${place} is lost and nobody says so`);
    return 'lost';
  }

  #isElsewhere(epoch: string, hash: string): boolean {
    this.#whereabouts ??= this.#findAll();
    const epochs = this.#whereabouts.get(hash)!;
    return epochs.size > 1 || !epochs.has(epoch);
  }

  /** Hash → the epochs in which it was ever seen. */
  #findAll(): Map<string, Set<string>> {
    const found = new Map<string, Set<string>>();
    for (const [epoch, numbers] of this.#epochs) {
      for (const { hash } of numbers.values()) {
        if (hash !== undefined) found.set(hash, (found.get(hash) ?? new Set()).add(epoch));
      }
    }
    return found;
  }

  #compare(sums: Record<'stored' | 'pending' | 'dropped' | 'lost' | 'unknown', number>): void {
    const { accepted, stored, stream } = this.#own;
    const { seen: _, ...evidence } = this.#evidence;
    for (const place of evidence.changed.filter((one) => one.startsWith(`${stream}/`)))
      this.#find(`${place} changed after it was accepted`);
    const claimed = evidence.claimed.get(stream) ?? 0;
    if (claimed > accepted) this.#find(`the agent said it accepted ${claimed}, and knows of ${accepted}`);
    if (sums.stored !== stored) this.#find(`the server has ${sums.stored}, the agent counts ${stored}`);
    const total = sums.stored + sums.pending + sums.dropped + sums.lost + sums.unknown;
    if (total !== accepted) this.#find(`the numbers come to ${total}, the agent accepted ${accepted}`);
  }

  /** The first ones say enough. */
  #find(what: string): void {
    if (this.#findings.length < 20) this.#findings.push(`${this.#own.stream}: ${what}`);
  }
}
