/** What hears of accepted records: rooms register sinks, ingest calls them inside its own transaction. */
import type { Stream } from '@skein/protocol/topics.ts';
import type { Transaction } from 'kysely';
import type { Tables } from '../store/schema.ts';

export interface BatchMeta {
  epoch: string;
  /** Sequence number of the batch's first record; the ones in `records` may be fewer when some are not understood. */
  seq: number;
}

/**
 * Sees each accepted batch exactly once for as long as the store lives, in order per device and stream. After a
 * restore from a backup a device sends again what the backup lacks, so rows must be idempotent by their own keys.
 */
export interface RecordSink {
  stream: Stream;
  /** Effects go into `tx` and nowhere else. `records` passed the schema of `stream`. Throwing refuses the batch. */
  accept(tx: Transaction<Tables>, device: string, records: unknown[], meta: BatchMeta): Promise<void>;
  /** After the commit; must not throw. */
  committed?(device: string): void;
}

/** Since the start; for metrics. */
export interface IngestCounts {
  accepted: number;
  records: number;
  duplicates: number;
  gaps: number;
  forks: number;
  /** Not a batch, or signed by nobody we know. */
  invalid: number;
  forged: number;
  /** Queue full at a broker that can not hold its sender: forgotten, the device sends again. */
  overflow: number;
  /** Queue full: the sender had to wait. */
  held: number;
  /** Not taken because the disk is full: the device sends again. */
  unstorable: number;
  /** Waited because its device sends more than it may. */
  slowed: number;
  /** The store refused: nothing was acknowledged. */
  failed: number;
}

export const NOTHING_YET: IngestCounts = {
  accepted: 0,
  records: 0,
  duplicates: 0,
  gaps: 0,
  forks: 0,
  invalid: 0,
  forged: 0,
  overflow: 0,
  held: 0,
  unstorable: 0,
  slowed: 0,
  failed: 0,
};
