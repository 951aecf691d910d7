/**
 * The outbox: the only queue. A record is *accepted* when {@link Outbox.commit} returns; from then on it is
 * stored at the server, pending, or accounted for as dropped, lost-at-server or unknown.
 */
import type { RecordOf } from '@skein/protocol/records.ts';
import type { Stream } from '@skein/protocol/topics.ts';
import type { Bytes, Millis, Sha256Hex } from '@skein/protocol/units.ts';

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
  /** Results that were there to be kept: accepted ones and those that sampling left out. */
  observed: number;
  accepted: number;
  stored: number;
  pending: number;
  dropped: number;
  lostAtServer: number;
  unknown: number;
  droppedRanges: SeqRange[];
  lostRanges: SeqRange[];
  unknownRanges: SeqRange[];
  oldestPendingAt: Millis | null;
  pendingBytes: Bytes;
  /** In memory until the next commit, and refused there because no disk took them: neither was accepted. */
  waiting: number;
  refused: number;
}

export interface SealedRow {
  stream: Stream;
  epoch: string;
  /** First record's sequence number and how many records follow. */
  seq: number;
  n: number;
  /** Last sequence number that an acknowledgement of these bytes covers. */
  upTo: number;
  /** A bridge has no records (`n` is 0): it tells the server what was given up. Only a direct answer settles it. */
  bridge: boolean;
  /** SHA-256 of `bytes`: what a direct answer names as `re`. */
  hash: Sha256Hex;
  /** The exact bytes that go on the wire, now and at every retry. */
  bytes: Uint8Array;
}

/** How far a stream is, in sequence numbers of its epoch. */
export interface StreamMark {
  epoch: string;
  /** First number not yet acknowledged, and the first not yet sealed. */
  deliveredNext: number;
  sealedNext: number;
}

/** A verified acknowledgement, reduced to what the outbox needs. */
export interface Watermark {
  stream: Stream;
  epoch: string;
  upTo: number;
  head: Sha256Hex;
}

export interface Outbox {
  /** Held in memory until the next commit; bounded by the caller committing at its interval. */
  append<S extends Stream>(stream: S, record: RecordOf[S]): void;
  /** A result that sampling does not keep: it counts as observed from the next commit of its stream on. */
  leaveOut(stream: Stream): void;
  /** Group commit of all that was appended; returns how many records were accepted. @throws SkeinError DISK_FULL, DISK_FAILED (nothing is lost from memory then) */
  commit(): number;
  /** Cuts committed records of `stream` into a signed batch; it is durable when {@link pending} gives it out, not before. */
  seal(stream: Stream): SealedRow | undefined;
  /** Sealed and not yet delivered, oldest first. */
  pending(stream: Stream, limit: number): SealedRow[];
  /** An acknowledgement whose signature was already checked. True when it matches our own chain and moved the mark. */
  delivered(ack: Watermark): boolean;
  mark(stream: Stream): StreamMark;
  /** Our own chain head after `upTo`; undefined when that batch is no longer, or not yet, here. */
  headAt(stream: Stream, upTo: number): Sha256Hex | undefined;
  /**
   * The server has less than we counted (restored from a backup): what is still kept becomes pending again, the
   * rest is lost-at-server and told in a bridge. False when the watermark does not lie on our chain.
   */
  rewind(watermark: Watermark): boolean;
  /** The direct answer to a bridge: were its records stored before it came? */
  settle(stream: Stream, hash: Sha256Hex, stored: boolean): void;
  /**
   * Offers again the bridges whose records the server may have, or have no more, although it answered once: a server
   * restored since may have heard old bytes from elsewhere first, and nothing else would tell.
   */
  askAgain(stream: Stream): void;
  /**
   * Where nothing waits, the newest batch that is still kept becomes pending again: the answer to it tells whether a
   * server that began anew still has what it had.
   */
  offerNewest(stream: Stream): void;
  /**
   * The server's chain is another one than ours (a copied or restored disk): a new epoch starts. What the server
   * claims to have up to `upTo` becomes unknown, everything after it is carried over.
   */
  abandonEpoch(stream: Stream, upTo: number): void;
  ledger(): StreamLedger[];
  /**
   * What was too large to be looked through for damage before it was used is looked through now, beside everything
   * else; damage is repaired as at the start. @throws SkeinError DISK_FAILED when it cannot be, or is closed meanwhile
   */
  examine(): Promise<void>;
  close(): void;
}
