/**
 * The outbox on SQLite. One transaction per step: the rows and the stream's numbers change together or not at all.
 *
 * Invariants (see also `stream-state.ts`):
 * 1. Accepted is durable: `commit` returns after an fsync; what it wrote is never changed, only sealed or given up.
 * 2. Sealed is final: bytes, range, head and hash are stored before the first send, and every send is those bytes.
 * 3. Given up is told: a sealed batch that is dropped leaves a bridge that carries the chain over it, so that what
 *    was sealed behind it still fits. A batch that may have been sent gets a bridge of its own, because only the
 *    server knows its fate; batches never offered share one. A bridge is signed when it is first offered.
 * 4. Nothing is marked delivered that the server's signed head does not prove, and only a rewind, asked for by a
 *    server that lost its memory, takes it back.
 * 5. The rows of `batches` are disjoint runs in order; holes lie only below deliveredNext.
 *
 * Limits: 100,000 records held in memory between commits (the oldest is refused then: it was never accepted),
 * 512 KiB of text or 4,096 records a batch, the stream's cap for everything stored.
 */
import { MAX_RECORDS, NO_HEAD } from '@skein/protocol/batch/header.ts';
import { asSkeinError, SkeinError } from '@skein/protocol/errors.ts';
import type { Clock, Entropy } from '@skein/protocol/ports.ts';
import type { RecordOf } from '@skein/protocol/records.ts';
import { STREAMS, type Stream } from '@skein/protocol/topics.ts';
import { type Bytes, MINUTE, type Millis, type Sha256Hex } from '@skein/protocol/units.ts';
import type { Outbox, SealedRow, StreamLedger, StreamMark, Watermark } from './port.ts';
import { textOf } from './recordable.ts';
import { KEEP_DELIVERED_MS } from './retention.ts';
import { OutboxCore } from './sqlite-outbox-core.ts';
import { keepWithinCap, shrinkAll } from './sqlite-outbox-drops.ts';
import { writeMark } from './sqlite-outbox-file.ts';
import { abandonEpoch, rewind, settle } from './sqlite-outbox-recovery.ts';
import { offerOldest, type Sealing, sealOldest, sendable } from './sqlite-outbox-sealing.ts';
import { accept, ledgerOf, reserve } from './stream-state.ts';

export interface OutboxOptions extends Sealing {
  path: string;
  clock: Clock;
  entropy: Entropy;
  /** Everything a stream stores, copies kept after delivery included. */
  capBytes?: Partial<Record<Stream, Bytes>>;
  /** How long delivered batches are kept for a server restored from a backup. */
  keepMs?: Millis;
  /** Space given back when the disk is full; 0: none. */
  reserveBytes?: Bytes;
  /** What a person should know but stops nothing: a replaced database, drops, a full disk. */
  trouble?: (error: SkeinError) => void;
}

const DEFAULT_CAPS: Record<Stream, Bytes> = {
  predictions: 64 << 20,
  health: 16 << 20,
  drift: 16 << 20,
  events: 16 << 20,
};
const RESERVE_BYTES: Bytes = 1 << 20;
const MAX_HELD = 100_000;
const FEW_RECORDS = 64;
const PRUNE_EVERY_MS: Millis = 10 * MINUTE;
/** Numbers vouched for beside the database at a time. */
const RESERVE_BLOCK = 4096;

/** @throws SkeinError DISK_FULL, DISK_FAILED. A database that cannot be read is replaced and reported as trouble. */
export const openSqliteOutbox = (options: OutboxOptions): Outbox => new SqliteOutbox(options);

class SqliteOutbox implements Outbox {
  readonly #options: OutboxOptions;
  readonly #core: OutboxCore;
  readonly #reservedNext = new Map<Stream, number>();
  readonly #pruneAt = new Map<Stream, Millis>();
  #held: { stream: Stream; at: Millis; body: string }[] = [];

  constructor(options: OutboxOptions) {
    const { path, clock, entropy, reserveBytes = RESERVE_BYTES, trouble = () => {} } = options;
    this.#options = options;
    this.#core = new OutboxCore({ path, clock, entropy, reserveBytes, trouble });
    this.#core.shrink = () => shrinkAll(this.#core);
  }

  append<S extends Stream>(stream: S, record: RecordOf[S]): void {
    this.#held.push({ stream, at: this.#options.clock.now(), body: textOf(record) });
    if (this.#held.length <= MAX_HELD) return;
    this.#held.shift();
    const error = new SkeinError(
      'OVERLOADED',
      `${MAX_HELD} records wait for a commit; the oldest is refused`,
    );
    this.#core.options.trouble(error);
  }

  commit(): number {
    const held = this.#held;
    if (held.length === 0) return 0;
    this.#core.refillReserve();
    this.#vouch();
    this.#core.write(() => this.#insert());
    this.#held = [];
    for (const stream of STREAMS) this.#tidy(stream);
    return held.length;
  }

  #waiting(stream: Stream): number {
    return this.#held.reduce((count, held) => count + Number(held.stream === stream), 0);
  }

  /** Writes the mark ahead of the numbers about to be given, so that a destroyed database leaves a bound. */
  #vouch(): void {
    const next = (stream: Stream): number => this.#core.state(stream).nextSeq + this.#waiting(stream);
    if (STREAMS.every((stream) => next(stream) <= (this.#reservedNext.get(stream) ?? 0))) return;
    const marks = STREAMS.map((s) => reserve(this.#core.state(s), this.#waiting(s) + RESERVE_BLOCK));
    writeMark(this.#options.path, marks);
    for (const mark of marks) this.#reservedNext.set(mark.stream, mark.nextSeq);
  }

  /** One chunk per stream. */
  #insert(): void {
    for (const stream of STREAMS) {
      const held = this.#held.filter((record) => record.stream === stream);
      if (held.length === 0) continue;
      const state = this.#core.state(stream);
      this.#core.chunks.insert(
        stream,
        state.nextSeq,
        held[0]!.at,
        held.map((record) => record.body),
      );
      this.#core.save(accept(state, held.length));
    }
  }

  /** The cap comes after the step that reached it, and its failure is not that step's failure. */
  #tidy(stream: Stream): void {
    try {
      keepWithinCap(this.#core, stream, this.#options.capBytes?.[stream] ?? DEFAULT_CAPS[stream]);
    } catch (error) {
      this.#core.options.trouble(asSkeinError(error));
    }
  }

  /** On a full disk a small batch still fits where a large one needs the log to grow; sealing saves space. */
  seal(stream: Stream): SealedRow | undefined {
    let row: SealedRow | undefined;
    try {
      row = this.#sealUpTo(stream, MAX_RECORDS);
    } catch (error) {
      if (asSkeinError(error).code !== 'DISK_FULL') throw error;
      row = this.#sealUpTo(stream, FEW_RECORDS);
    }
    if (row) this.#tidy(stream);
    return row;
  }

  #sealUpTo(stream: Stream, limit: number): SealedRow | undefined {
    return this.#core.write(() => sealOldest(this.#core, this.#options, stream, limit));
  }

  pending(stream: Stream, limit: number): SealedRow[] {
    try {
      return sendable(this.#core, stream, offerOldest(this.#core, this.#options, stream, limit));
    } catch (error) {
      this.#core.options.trouble(asSkeinError(error));
      return sendable(this.#core, stream, this.#core.queries.openBatches(stream, limit));
    }
  }

  mark(stream: Stream): StreamMark {
    const { epoch, deliveredNext, sealedNext } = this.#core.state(stream);
    return { epoch, deliveredNext, sealedNext };
  }

  headAt(stream: Stream, upTo: number): Sha256Hex | undefined {
    const state = this.#core.state(stream);
    if (upTo === -1) return NO_HEAD;
    if (upTo === state.deliveredNext - 1) return state.deliveredHead;
    if (upTo === state.sealedNext - 1) return state.head;
    return this.#core.queries.headAt(stream, upTo);
  }

  delivered({ stream, epoch, upTo, head }: Watermark): boolean {
    const { epoch: own, deliveredNext, sealedNext } = this.#core.state(stream);
    if (epoch !== own || upTo < deliveredNext || upTo >= sealedNext) return false;
    if (this.headAt(stream, upTo) !== head) return false;
    const now = this.#options.clock.now();
    this.#core.write(() => {
      const records = this.#core.queries.finishUpTo(stream, upTo, now);
      this.#prune(stream, now);
      const state = this.#core.state(stream);
      const stored = state.stored + records;
      this.#core.save({ ...state, deliveredNext: upTo + 1, deliveredHead: head, stored });
    });
    return true;
  }

  /** Now and then: it reads the whole table. */
  #prune(stream: Stream, now: Millis): void {
    const { clock, keepMs = KEEP_DELIVERED_MS } = this.#options;
    const due = this.#pruneAt.get(stream) ?? Number.NEGATIVE_INFINITY;
    if (clock.mono() < due) return;
    this.#pruneAt.set(stream, clock.mono() + Math.min(keepMs, PRUNE_EVERY_MS));
    this.#core.queries.deleteDoneBefore(stream, now - keepMs);
  }

  settle(stream: Stream, hash: Sha256Hex, stored: boolean): void {
    this.#core.write(() => {
      const row = this.#core.queries.openBridge(stream, hash);
      if (row) settle(this.#core, stream, row, stored);
    });
  }

  askAgain(stream: Stream): void {
    if (this.#core.queries.countDoubts(stream) === 0) return;
    this.#core.write(() => this.#core.queries.reopenDoubts(stream));
  }

  rewind(watermark: Watermark): boolean {
    const { stream, epoch, upTo, head } = watermark;
    const state = this.#core.state(stream);
    const own = this.headAt(stream, upTo);
    if (epoch !== state.epoch || upTo >= state.sealedNext || (own ?? head) !== head) return false;
    return this.#core.write(() => rewind(this.#core, watermark));
  }

  abandonEpoch(stream: Stream, upTo: number): void {
    this.#core.write(() => abandonEpoch(this.#core, stream, upTo));
    this.#reservedNext.delete(stream);
  }

  ledger(): StreamLedger[] {
    return STREAMS.map((stream) => {
      const [sealed, loose] = [this.#core.queries.totals(stream), this.#core.chunks.totals(stream)];
      return {
        ...ledgerOf(this.#core.state(stream)),
        pending: sealed.n + loose.n,
        pendingBytes: sealed.bytes + loose.bytes,
        oldestPendingAt: sealed.at ?? loose.at,
      };
    });
  }

  close(): void {
    this.#core.database.close();
  }
}
