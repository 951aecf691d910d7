/**
 * The outbox: the only queue. A record is *accepted* when {@link Outbox.commit} returns; from then on it is
 * stored at the server, pending, or accounted for as dropped, lost-at-server or unknown.
 */
import type { RecordOf } from '@skein/protocol/records.ts';
import type { Stream } from '@skein/protocol/topics.ts';
import type { Bytes, Millis } from '@skein/protocol/units.ts';

export interface SeqRange {
  epoch: string;
  /** Both inclusive. */
  from: number;
  to: number;
  reason: string;
}

/** stored + pending + dropped + lostAtServer + unknown = accepted, for each stream. */
export interface StreamLedger {
  stream: Stream;
  epoch: string;
  accepted: number;
  stored: number;
  pending: number;
  dropped: number;
  lostAtServer: number;
  unknown: number;
  droppedRanges: SeqRange[];
  oldestPendingAt: Millis | null;
  pendingBytes: Bytes;
}

export interface SealedRow {
  stream: Stream;
  epoch: string;
  /** First record's sequence number and how many records follow. */
  seq: number;
  n: number;
  /** The exact bytes that go on the wire, now and at every retry. */
  bytes: Uint8Array;
}

export interface Outbox {
  /** Held in memory until the next commit; bounded by the caller committing at its interval. */
  append<S extends Stream>(stream: S, record: RecordOf[S]): void;
  /** Group commit of all that was appended; returns how many records were accepted. @throws SkeinError DISK_FULL, DISK_FAILED (nothing is lost from memory then) */
  commit(): number;
  /** Cuts committed records of `stream` into a signed batch; bytes, range and chain head are stored before it returns. */
  seal(stream: Stream): SealedRow | undefined;
  /** Sealed and not yet delivered, oldest first. */
  pending(stream: Stream, limit: number): SealedRow[];
  /** An acknowledgement whose signature was already checked. True when it matches our own chain and moved the mark. */
  delivered(ack: { stream: Stream; epoch: string; upTo: number; head: string }): boolean;
  ledger(): StreamLedger[];
  close(): void;
}
