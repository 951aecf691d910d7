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
import { type BatchHeader, MAX_RECORDS, NO_HEAD } from '@skein/protocol/batch/header.ts';
import { chainHead, type Encoding, sealBatch } from '@skein/protocol/batch/sealed.ts';
import { asSkeinError, SkeinError } from '@skein/protocol/errors.ts';
import type { Clock, Entropy, Signer } from '@skein/protocol/ports.ts';
import type { RecordOf } from '@skein/protocol/records.ts';
import { STREAMS, type Stream } from '@skein/protocol/topics.ts';
import { type Bytes, MINUTE, type Millis, type Sha256Hex } from '@skein/protocol/units.ts';
import type { Outbox, SealedRow, StreamLedger, StreamMark, Watermark } from './port.ts';
import { type LossKind, sizeOf } from './ranges.ts';
import { textOf } from './recordable.ts';
import { KEEP_DELIVERED_MS } from './retention.ts';
import type { RecordRow } from './sqlite-outbox-chunks.ts';
import { OutboxCore } from './sqlite-outbox-core.ts';
import { keepWithinCap, shrinkAll } from './sqlite-outbox-drops.ts';
import { writeMark } from './sqlite-outbox-file.ts';
import type { BatchRow } from './sqlite-outbox-queries.ts';
import { abandonEpoch, rewind, settle } from './sqlite-outbox-recovery.ts';
import { accept, afterSeal, bridgeHeader, type Identity, lose, nextHeader, reserve } from './stream-state.ts';

export interface OutboxOptions extends Identity {
  path: string;
  clock: Clock;
  entropy: Entropy;
  /** The device's report key. */
  signer: Signer;
  encoding?: Encoding;
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
const MAX_SEAL_TEXT: Bytes = 512 * 1024;
const FEW_RECORDS = 64;
/** Batches sealed while fewer than this wait count as offered at once: one write less per batch. */
const OFFER_AHEAD = 8;
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
    return this.#core.write(() => {
      const records = this.#core.chunks.oldestRecords(stream, limit, MAX_SEAL_TEXT);
      return records.length === 0 ? undefined : this.#sealSome(stream, records);
    });
  }

  /** Seals as many of `records` as fit the limit of a batch; a single one that never fits is given up. */
  #sealSome(stream: Stream, records: readonly RecordRow[]): SealedRow | undefined {
    const { fleet, device, signer, encoding } = this.#options;
    const state = this.#core.state(stream);
    const header = nextHeader(state, { fleet, device }, records[0]!.seq, records.length);
    const bodies = records.map((record) => JSON.parse(record.body));
    let bytes: Uint8Array;
    try {
      bytes = sealBatch(header, bodies, signer, encoding);
    } catch (cause) {
      if (records.length > 1) return this.#sealSome(stream, records.slice(0, records.length >> 1));
      const run = { from: header.seq, to: header.seq };
      this.#core.chunks.delete(stream, run);
      this.#core.save(lose(state, run, 'dropped', 'unsealable'));
      this.#core.options.trouble(asSkeinError(cause));
      return undefined;
    }
    return this.#store(stream, records, header, bytes);
  }

  #store(stream: Stream, records: readonly RecordRow[], header: BatchHeader, bytes: Uint8Array): SealedRow {
    const head = chainHead(bytes);
    const to = header.seq + header.n - 1;
    const row: BatchRow = {
      from: header.gaps[0]?.from ?? header.seq,
      to,
      seq: header.seq,
      n: header.n,
      prev: header.prev,
      head,
      firstAt: records[0]!.at,
      size: bytes.length,
      offered: this.#core.queries.countOpen(stream, OFFER_AHEAD) < OFFER_AHEAD,
      doneAt: null,
      bridge: false,
      doubt: [],
      regained: false,
      hash: head,
      bytes,
    };
    this.#core.queries.insertBatch(stream, row);
    this.#core.chunks.delete(stream, { from: header.seq, to });
    const state = this.#core.state(stream);
    this.#core.save(afterSeal(state, to + 1, head));
    return { ...asSealed(stream, state.epoch, row)! };
  }

  pending(stream: Stream, limit: number): SealedRow[] {
    try {
      return this.#sendable(stream, this.#offer(stream, limit));
    } catch (error) {
      this.#core.options.trouble(asSkeinError(error));
      return this.#sendable(stream, this.#core.queries.openBatches(stream, limit));
    }
  }

  #sendable(stream: Stream, rows: readonly BatchRow[]): SealedRow[] {
    const { epoch } = this.#core.state(stream);
    const sealed = rows.map((row) => asSealed(stream, epoch, row));
    const unsigned = sealed.indexOf(undefined);
    return (unsigned === -1 ? sealed : sealed.slice(0, unsigned)) as SealedRow[];
  }

  /** From here on the server may know these bytes; a bridge is signed now and then as final as a batch. */
  #offer(stream: Stream, limit: number): BatchRow[] {
    const open = this.#core.queries.openBatches(stream, limit);
    if (open.every((row) => row.offered)) return open;
    return this.#core.write(() =>
      this.#core.queries.openBatches(stream, limit).map((row) => {
        if (row.offered) return row;
        const bytes = row.bytes ?? this.#signBridge(stream, row);
        const offered = { ...row, offered: true, bytes, hash: chainHead(bytes) };
        this.#core.queries.updateBatch(stream, offered);
        return offered;
      }),
    );
  }

  #signBridge(stream: Stream, row: BatchRow): Uint8Array {
    const { fleet, device, signer, encoding } = this.#options;
    return sealBatch(bridgeHeader(this.#core.state(stream), { fleet, device }, row), [], signer, encoding);
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
      const { epoch, accepted, stored, losses } = this.#core.state(stream);
      const of = (kind: LossKind) =>
        losses.filter((loss) => loss.kind === kind).map(({ kind: _, ...run }) => run);
      const [droppedRanges, lostRanges, unknownRanges] = [of('dropped'), of('lost'), of('unknown')];
      const [dropped, lostAtServer, unknown] = [droppedRanges, lostRanges, unknownRanges].map(sizeOf) as [
        number,
        number,
        number,
      ];
      const [sealed, loose] = [this.#core.queries.totals(stream), this.#core.chunks.totals(stream)];
      const pending = sealed.n + loose.n;
      const pendingBytes = sealed.bytes + loose.bytes;
      const waiting = { pending, pendingBytes, oldestPendingAt: sealed.at ?? loose.at };
      const ranges = { droppedRanges, lostRanges, unknownRanges };
      return { stream, epoch, accepted, stored, dropped, lostAtServer, unknown, ...ranges, ...waiting };
    });
  }

  close(): void {
    this.#core.database.close();
  }
}

/** undefined: a bridge that is not signed yet. */
function asSealed(stream: Stream, epoch: string, row: BatchRow): SealedRow | undefined {
  const { seq, n, to: upTo, bridge, hash, bytes } = row;
  return bytes === null || hash === null ? undefined : { stream, epoch, seq, n, upTo, bridge, hash, bytes };
}
