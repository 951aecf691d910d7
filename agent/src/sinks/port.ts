/** Where predictions go beside the outbox. A sink may lose what the outbox never does: it is for people and programs nearby. */
import type { Millis } from '@skein/protocol/units.ts';
import type { Outcome } from '../pipeline/postprocess.ts';

/** What a sink tells of a prediction, as one JSON object. */
export interface SinkMessage extends Pick<Outcome, 'label' | 'score' | 'alarm' | 'top' | 'boxes'> {
  ts: Millis;
  device: string;
  source: string;
  model: string;
  version: string;
  latency_us: number;
}

export interface SinkItem {
  /** Rises by one with each item of a sink, from 0 at its start. */
  seq: number;
  message: SinkMessage;
}

export interface SinkCounts {
  /** Waiting now, those under way included. */
  queued: number;
  delivered: number;
  /** The oldest, left out because too many waited. */
  dropped: number;
  /** Refused for good by who should take them. */
  failed: number;
  /** What stands in the way now. */
  problem: string | null;
}

export interface Sink {
  readonly name: string;
  start(): void;
  /** Returns at once and never throws, whatever the peer does. */
  offer(message: SinkMessage): void;
  /** Gives what is under way a moment, then ends. */
  stop(): Promise<void>;
  counts(): SinkCounts;
}

/** What a technology does for a {@link Sink}: one attempt at a time. */
export interface Transport {
  /** @param ready a peer that was away is there: try again at once. */
  open(ready: () => void, trouble: (error: Error) => void): void;
  /**
   * Resolves when the peer took them all; ends soon after `stopped`.
   * @throws SkeinError; with `data.permanent` the same attempt would never succeed.
   */
  send(items: readonly SinkItem[], stopped: AbortSignal): Promise<void>;
  close(): Promise<void>;
}
