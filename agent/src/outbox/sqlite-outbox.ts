/**
 * The outbox on SQLite. One transaction per step: the rows and the stream's numbers change together or not at all.
 *
 * Invariants (see also `stream-state.ts`):
 * 1. Accepted is durable: `commit` returns after an fsync; what it wrote is never changed, only sealed or given up.
 * 2. Sealed is final: bytes, range, head and hash are durable before the first send, and every send is those bytes. Sealing
 *    and marking as delivered themselves wait for no disk: a power cut that takes them costs a repetition and nothing else.
 * 3. Given up is told: a sealed batch that is dropped leaves a bridge that carries the chain over it, so that what
 *    was sealed behind it still fits. A batch that may have been sent gets a bridge of its own, because only the
 *    server knows its fate; batches never offered share one. A bridge is signed when it is first offered.
 * 4. Nothing is marked delivered that the server's signed head does not prove, and only a rewind, asked for by a
 *    server that lost its memory, takes it back.
 * 5. The rows of `batches` are disjoint runs in order; holes lie only below deliveredNext.
 *
 * Limits: 100,000 records and 16 MiB held in memory between commits (the oldest is refused then: it was never
 * accepted), 1,024 records or 256 KiB of text a transaction and stream, 4,096 records or 512 KiB a batch, the stream's
 * caps for everything stored.
 */
import { MAX_RECORDS, NO_HEAD } from '@skein/protocol/batch/header.ts';
import { asSkeinError, SkeinError } from '@skein/protocol/errors.ts';
import type { Clock, Entropy } from '@skein/protocol/ports.ts';
import type { RecordOf } from '@skein/protocol/records.ts';
import { STREAMS, type Stream } from '@skein/protocol/topics.ts';
import { type Bytes, MIB, MINUTE, type Millis, type Sha256Hex } from '@skein/protocol/units.ts';
import { ageJudge } from './ages.ts';
import { Held, type HeldRecord } from './held.ts';
import type { Outbox, SealedRow, StreamLedger, StreamMark, Watermark } from './port.ts';
import { textOf } from './recordable.ts';
import { type DropPolicy, KEEP_DELIVERED_MS } from './retention.ts';
import { CLEAR, type RowCipher } from './row-cipher.ts';
import { OutboxCore } from './sqlite-outbox-core.ts';
import { keepWithin, type StreamCaps, shrinkAll } from './sqlite-outbox-drops.ts';
import { diskError } from './sqlite-outbox-file.ts';
import { pendingOf } from './sqlite-outbox-ledger.ts';
import { abandonEpoch, rewind, settle } from './sqlite-outbox-recovery.ts';
import { offerOldest, type Sealing, sealOldest, sendable } from './sqlite-outbox-sealing.ts';
import { Vouching } from './sqlite-outbox-vouch.ts';
import { accept, ledgerOf } from './stream-state.ts';
import { isAlarm } from './urgent.ts';
import { checkFile, type FileCheck } from './worker-check.ts';

export interface OutboxOptions extends Omit<Sealing, 'cutAtAlarms'> {
  path: string;
  clock: Clock;
  entropy: Entropy;
  /** What a stream takes on the disk, copies kept after delivery included. */
  capBytes?: Partial<Record<Stream, Bytes>>;
  /** A record that was not delivered for so long is dropped. */
  maxAgeMs?: Partial<Record<Stream, Millis>>;
  /** What goes first at the cap; default: the oldest. */
  policies?: Partial<Record<Stream, DropPolicy>>;
  /** How long delivered batches are kept for a server restored from a backup. */
  keepMs?: Millis;
  /** Space given back when the disk is full; 0: none. */
  reserveBytes?: Bytes;
  /** No other program reads the database while it is open: spares a card. */
  alone?: boolean;
  /** A larger file is looked through for damage by {@link Outbox.examine}, not before it is used. */
  checkedUpTo?: Bytes;
  /** Hides what rows hold; by default they lie in clear. */
  cipher?: RowCipher;
  /** All that is stored lies as `cipher` would write it now: in clear too, after encryption was switched off. */
  rewritten?: () => void;
  /** A folder in memory, of this machine alone: its witness is kept there, and is only told beforehand on the disk. */
  noteIn?: string | undefined;
  /** In memory, while no commit succeeds. */
  heldBytes?: Bytes;
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
/** A full buffer of 256 MiB takes half a second, from a disk that was not read before five, from a card more. */
const CHECKED_UP_TO: Bytes = 2 * MIB;
const MAX_HELD = 100_000;
const HELD_BYTES: Bytes = 16 << 20;
/** Of refused records only every so many-th is told. */
const TELL_REFUSED = 10_000;
/** What one transaction takes of a stream. */
const COMMIT_RECORDS = 1024;
const COMMIT_TEXT: Bytes = 256 * 1024;
const FEW_RECORDS = 64;
const PRUNE_EVERY_MS: Millis = 10 * MINUTE;
/** While sampling keeps nothing, how much it left out is written this often. */
const COUNT_EVERY_MS: Millis = 10 * MINUTE;

/** @throws SkeinError DISK_FULL, DISK_FAILED. A database that cannot be read is replaced and reported as trouble. */
export const openSqliteOutbox = (options: OutboxOptions): Outbox => new SqliteOutbox(options);

class SqliteOutbox implements Outbox {
  readonly #options: OutboxOptions;
  readonly #sealing: Sealing;
  readonly #core: OutboxCore;
  readonly #held: Held;
  readonly #expiredBefore: (maxAge: Millis | undefined) => Millis | undefined;
  readonly #vouching: Vouching;
  #check: FileCheck | undefined;
  #pruneAt: Millis = Number.NEGATIVE_INFINITY;
  #countAt: Millis = Number.NEGATIVE_INFINITY;

  constructor(options: OutboxOptions) {
    const { path, clock, entropy, reserveBytes = RESERVE_BYTES, trouble = () => {} } = options;
    const { alone = false, noteIn, cipher = CLEAR, rewritten = () => {} } = options;
    const { checkedUpTo = CHECKED_UP_TO } = options;
    this.#options = options;
    this.#sealing = {
      ...options,
      cutAtAlarms: (stream) => options.policies?.[stream] === 'keep-alarms',
    };
    this.#held = new Held({ records: MAX_HELD, bytes: options.heldBytes ?? HELD_BYTES });
    this.#expiredBefore = ageJudge(clock);
    this.#core = new OutboxCore({
      ...{ path, clock, entropy, reserveBytes, alone, noteIn, trouble },
      ...{ cipher, rewritten, checkedUpTo },
    });
    this.#vouching = new Vouching(this.#core);
    this.#core.replaced = () => this.#vouching.forget();
    this.#core.shrink = () => shrinkAll(this.#core, (stream) => this.#capsOf(stream));
  }

  append<S extends Stream>(stream: S, record: RecordOf[S]): void {
    const at = this.#options.clock.now();
    if (this.#held.add(stream, at, textOf(record), isAlarm(stream, record))) return;
    if (this.#held.refused(stream) % TELL_REFUSED !== 1) return;
    const error = new SkeinError(
      'OVERLOADED',
      `${this.#held.size} records wait for a commit; the oldest are refused`,
      { fix: 'Make the disk take them again: see the errors before this one.' },
    );
    this.#core.options.trouble(error);
  }

  leaveOut(stream: Stream): void {
    this.#held.leaveOut(stream);
  }

  /** In pieces: a backlog of hours is no transaction that a small disk could take at once. */
  commit(): number {
    let accepted = 0;
    while (this.#held.size > 0) accepted += this.#commitSome();
    const now = this.#options.clock.mono();
    if (accepted > 0) this.#countAt = now + COUNT_EVERY_MS;
    else if (now >= this.#countAt) {
      this.#countAt = now + COUNT_EVERY_MS;
      this.#keepCounts();
    }
    if (accepted > 0) for (const stream of STREAMS) this.#tidy(stream);
    return accepted;
  }

  #commitSome(): number {
    this.#core.space.refillReserve();
    const piece = new Map<Stream, HeldRecord[]>();
    for (const stream of STREAMS) {
      const records = this.#held.oldest(stream, COMMIT_RECORDS, COMMIT_TEXT);
      if (records.length > 0) piece.set(stream, records);
    }
    this.#vouching.cover(piece);
    this.#core.write(() => this.#insert(piece));
    let accepted = 0;
    for (const [stream, { length }] of piece) {
      this.#held.drop(stream, length);
      accepted += length;
    }
    return accepted;
  }

  /** One chunk per stream. */
  #insert(piece: ReadonlyMap<Stream, readonly HeldRecord[]>): void {
    for (const [stream, records] of piece) {
      const state = this.#core.state(stream);
      const leftOut = sum(records, 'leftOut');
      this.#core.chunks.insert(stream, {
        seq: state.nextSeq,
        at: records[0]!.at,
        texts: records.map(textIn),
        leftOut: state.untold + leftOut,
        alarms: sum(records, 'alarm'),
      });
      this.#core.save(accept(state, records.length, leftOut));
    }
  }

  /** Results left out that no kept one came after yet: written down now and then, to spare the disk. */
  #keepCounts(): void {
    const count = (stream: Stream): number => this.#held.leftOut(stream);
    if (STREAMS.every((stream) => count(stream) === 0)) return;
    this.#core.write(() => {
      for (const stream of STREAMS) {
        const state = this.#core.state(stream);
        const [leftOut, untold] = [state.leftOut + count(stream), state.untold + count(stream)];
        if (count(stream) > 0) this.#core.save({ ...state, leftOut, untold });
      }
    });
    for (const stream of STREAMS) this.#held.takeLeftOut(stream);
  }

  #capsOf(stream: Stream): StreamCaps {
    const { capBytes, maxAgeMs, policies } = this.#options;
    return {
      capBytes: capBytes?.[stream] ?? DEFAULT_CAPS[stream],
      policy: policies?.[stream] ?? 'oldest',
      expiredBefore: this.#expiredBefore(maxAgeMs?.[stream]),
    };
  }

  /** The caps come after the step that reached them, and their failure is not that step's failure. */
  #tidy(stream: Stream): void {
    try {
      keepWithin(this.#core, stream, this.#capsOf(stream));
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
    // The batch may be taken back with the step that makes room for it: else whoever seals until nothing is left never ends.
    return row && this.#core.stands(() => this.#tidy(stream)) ? row : undefined;
  }

  #sealUpTo(stream: Stream, limit: number): SealedRow | undefined {
    return this.#core.writeBehind(() => sealOldest(this.#core, this.#sealing, stream, limit));
  }

  pending(stream: Stream, limit: number): SealedRow[] {
    try {
      return this.#core.read(() => {
        const offer = () => offerOldest(this.#core, this.#sealing, stream, limit);
        let rows = offer();
        if (rows.length > 0 && !this.#core.sync()) rows = offer();
        return sendable(this.#core, stream, rows);
      });
    } catch (error) {
      this.#core.options.trouble(diskError(error));
    }
    try {
      this.#core.sync();
      return sendable(this.#core, stream, this.#core.queries.openBatches(stream, limit));
    } catch {
      return [];
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
    this.#core.writeBehind(() => {
      const records = this.#core.queries.finishUpTo(stream, upTo, now);
      const state = this.#core.state(stream);
      const stored = state.stored + records;
      this.#core.save({ ...state, deliveredNext: upTo + 1, deliveredHead: head, stored });
    });
    this.#prune(now);
    return true;
  }

  /** Now and then: it reads the whole table. */
  #prune(now: Millis): void {
    const { clock, keepMs = KEEP_DELIVERED_MS } = this.#options;
    if (clock.mono() < this.#pruneAt) return;
    this.#pruneAt = clock.mono() + Math.min(keepMs, PRUNE_EVERY_MS);
    try {
      this.#core.writeBehind(() => {
        for (const stream of STREAMS) this.#core.queries.deleteDoneBefore(stream, now - keepMs);
      });
      if (!this.#core.space.isSlack) return;
      this.#core.sync();
      this.#core.space.giveBack();
    } catch (error) {
      this.#core.options.trouble(asSkeinError(error));
    }
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

  offerNewest(stream: Stream): void {
    const { deliveredNext, epoch, sealedNext } = this.#core.state(stream);
    const newest = this.#core.queries.batchesFrom(stream, deliveredNext - 1)[0];
    const asks = deliveredNext === sealedNext && newest?.to === deliveredNext - 1 && !newest.bridge;
    if (!asks) return;
    const before = { stream, epoch, upTo: newest.from - 1, head: newest.prev };
    this.#core.write(() => rewind(this.#core, before));
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
    this.#vouching.forget(stream);
  }

  ledger(): StreamLedger[] {
    return STREAMS.map((stream) => ({
      ...ledgerOf(this.#core.state(stream)),
      ...this.#pendingOf(stream),
      waiting: this.#held.waiting(stream),
      refused: this.#held.refused(stream),
    }));
  }

  /** While the disk can not even be read, the sum alone is known. */
  #pendingOf(stream: Stream): Pick<StreamLedger, 'pending' | 'pendingBytes' | 'oldestPendingAt'> {
    try {
      return this.#core.read(() => pendingOf(this.#core, stream));
    } catch {
      const { accepted, stored, dropped, lostAtServer, unknown } = ledgerOf(this.#core.state(stream));
      const pending = accepted - stored - dropped - lostAtServer - unknown;
      return { pending, pendingBytes: 0, oldestPendingAt: null };
    }
  }

  async examine(): Promise<void> {
    if (!this.#core.owesCheck || this.#check) return;
    this.#check = checkFile(this.#options.path);
    try {
      this.#core.checked(await this.#check.verdict);
    } catch (cause) {
      throw diskError(cause);
    } finally {
      this.#check = undefined;
    }
  }

  close(): void {
    this.#check?.cancel();
    try {
      this.#keepCounts();
    } catch {
      // The loss window of a failing disk: a count that is too low by what came since the last commit.
    }
    this.#core.close();
  }
}

const textIn = ({ text }: HeldRecord): string => text;
const sum = (records: readonly HeldRecord[], key: 'leftOut' | 'alarm'): number =>
  records.reduce((total, record) => total + Number(record[key]), 0);
