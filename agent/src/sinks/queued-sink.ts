/**
 * A bounded queue before a transport. Offering never waits: beyond the limit the oldest go, which is counted. One attempt at
 * a time, in order; what failed goes back to the head and is tried again after a jittered backoff of up to a minute, or at
 * once when the transport says that its peer is back. What the peer refuses for good is counted and not tried again.
 */
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Clock, Entropy, Timer } from '@skein/protocol/ports.ts';
import { MINUTE, type Millis, SECOND } from '@skein/protocol/units.ts';
import { type BackoffPolicy, backoffMs } from '../uplink/backoff.ts';
import type { Sink, SinkCounts, SinkItem, SinkMessage, Transport } from './port.ts';
import { Ring } from './ring.ts';

export interface QueuedSinkOptions {
  name: string;
  /** Messages that wait at most. */
  queueLimit: number;
  /** Messages of one attempt at most. */
  batch: number;
  retry?: BackoffPolicy;
}

export interface QueuedSinkDeps {
  clock: Clock;
  entropy: Entropy;
  /** For people. */
  trouble(error: Error): void;
}

const RETRY: BackoffPolicy = { baseMs: SECOND, capMs: MINUTE };
const GOODBYE_MS: Millis = 200;

export function queuedSink(options: QueuedSinkOptions, deps: QueuedSinkDeps, transport: Transport): Sink {
  return new QueuedSink(options, deps, transport);
}

class QueuedSink implements Sink {
  readonly name: string;
  readonly #options: QueuedSinkOptions;
  readonly #deps: QueuedSinkDeps;
  readonly #transport: Transport;
  readonly #counts = { delivered: 0, dropped: 0, failed: 0 };
  readonly #queue: Ring<SinkItem>;
  #underWay: readonly SinkItem[] = [];
  #work: Promise<void> | undefined;
  #stopping: AbortController | undefined;
  #retry: Timer | undefined;
  #attempt = 0;
  #seq = 0;
  #problem: string | null = null;

  constructor(options: QueuedSinkOptions, deps: QueuedSinkDeps, transport: Transport) {
    this.name = options.name;
    this.#options = options;
    this.#deps = deps;
    this.#transport = transport;
    this.#queue = new Ring(options.queueLimit);
  }

  start(): void {
    if (this.#stopping) return;
    this.#stopping = new AbortController();
    this.#attempt = 0;
    this.#transport.open(
      () => this.#again(),
      (error) => this.#say(error),
    );
    this.#next();
  }

  offer(message: SinkMessage): void {
    if (!this.#stopping) return;
    if (this.#queue.push({ seq: this.#seq++, message })) this.#counts.dropped++;
    this.#next();
  }

  async stop(): Promise<void> {
    const stopping = this.#stopping;
    if (!stopping) return;
    this.#retry?.cancel();
    this.#retry = undefined;
    const timer = this.#deps.clock.after(GOODBYE_MS, () => stopping.abort());
    if (this.#attempt > 0) stopping.abort();
    while (this.#work && !stopping.signal.aborted) await this.#work;
    stopping.abort();
    timer.cancel();
    this.#stopping = undefined;
    await this.#transport.close();
  }

  counts(): SinkCounts {
    return {
      queued: this.#queue.length + this.#underWay.length,
      ...this.#counts,
      problem: this.#problem,
    };
  }

  #next(): void {
    const stopping = this.#stopping;
    if (this.#work || this.#retry || this.#queue.length === 0 || !stopping || stopping.signal.aborted) return;
    this.#underWay = this.#queue.take(this.#options.batch);
    this.#work = this.#try(this.#underWay, stopping.signal).finally(() => {
      this.#work = undefined;
      this.#next();
    });
  }

  async #try(items: readonly SinkItem[], stopped: AbortSignal): Promise<void> {
    try {
      await this.#transport.send(items, stopped);
      this.#underWay = [];
      this.#counts.delivered += items.length;
      this.#attempt = 0;
      this.#problem = null;
    } catch (error) {
      this.#underWay = [];
      if (stopped.aborted) this.#counts.dropped += this.#queue.putBack(items);
      else this.#failed(items, error as Error);
    }
  }

  #failed(items: readonly SinkItem[], error: Error): void {
    this.#say(error);
    if (error instanceof SkeinError && error.data.permanent === true) {
      this.#counts.failed += items.length;
      return;
    }
    this.#counts.dropped += this.#queue.putBack(items);
    const { clock, entropy } = this.#deps;
    this.#retry = clock.after(backoffMs(this.#attempt++, entropy, this.#options.retry ?? RETRY), () => {
      this.#retry = undefined;
      this.#next();
    });
  }

  #again(): void {
    this.#retry?.cancel();
    this.#retry = undefined;
    this.#next();
  }

  #say(error: Error): void {
    this.#problem = error.message;
    this.#deps.trouble(error);
  }
}
