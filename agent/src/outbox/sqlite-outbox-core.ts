/**
 * What every step of the outbox shares: the streams' states, the statements, and a transaction that believes a new
 * state only once it is committed.
 *
 * A task handed to {@link OutboxCore.write} reads what it needs inside itself: when the disk is full it runs a
 * second time, after room was made, and the rows may then be others.
 */
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Clock, Entropy } from '@skein/protocol/ports.ts';
import { STREAMS, type Stream } from '@skein/protocol/topics.ts';
import type { Bytes, Millis } from '@skein/protocol/units.ts';
import type Database from 'better-sqlite3';
import { sizeOf } from './ranges.ts';
import { type ChunkQueries, chunkQueries } from './sqlite-outbox-chunks.ts';
import { diskError, fillReserve, openFile, releaseReserve } from './sqlite-outbox-file.ts';
import { type OutboxQueries, outboxQueries } from './sqlite-outbox-queries.ts';
import { afterDestruction, newStream, type StreamState } from './stream-state.ts';

const REFILL_EVERY_MS: Millis = 60_000;
/** Share of the database's pages. */
const FREE_ENOUGH = 0.05;
const PROBE_BYTES: Bytes = 64 * 1024;
/** SQLite's own limit. */
const ANY_PAGES = 4_294_967_294;

export interface CoreOptions {
  path: string;
  clock: Clock;
  entropy: Entropy;
  reserveBytes: Bytes;
  trouble: (error: SkeinError) => void;
}

export class OutboxCore {
  readonly options: CoreOptions;
  readonly database: Database.Database;
  readonly queries: OutboxQueries;
  readonly chunks: ChunkQueries;
  /** Gives up what is dispensable in every stream; true when anything went. Set by the outbox. */
  shrink: () => boolean = () => false;
  #states = new Map<Stream, StreamState>();
  #refillAt: Millis = Number.NEGATIVE_INFINITY;

  constructor(options: CoreOptions) {
    this.options = options;
    const { database, destroyed } = openFile(options.path, options.clock.now());
    this.database = database;
    this.queries = outboxQueries(database);
    this.chunks = chunkQueries(database);
    const before = new Map(destroyed?.reservations.map((r) => [r.stream, r]));
    this.write(() => {
      for (const stream of STREAMS) {
        const stored = this.queries.loadState(stream);
        if (stored) this.#states.set(stream, stored);
        else this.save(this.#firstState(stream, before.get(stream)));
      }
    });
    this.refillReserve();
    if (destroyed) this.#reportDestroyed(destroyed.error);
  }

  #firstState(stream: Stream, reserved: StreamState | undefined): StreamState {
    const { epoch, ordinal } = this.newEpoch();
    return reserved ? afterDestruction(reserved, epoch, ordinal) : newStream(stream, epoch, ordinal);
  }

  /** Ordinals grow with time, so that epochs have an order even when the one before is not known. */
  newEpoch(): { epoch: string; ordinal: number } {
    const epoch = Buffer.from(this.options.entropy.bytes(8)).toString('hex');
    return { epoch, ordinal: Math.max(0, Math.floor(this.options.clock.now() / 1000)) };
  }

  #reportDestroyed(cause: SkeinError): void {
    const losses = [...this.#states.values()].flatMap((state) => state.losses);
    const unknown = sizeOf(losses.filter((loss) => loss.kind === 'unknown'));
    this.options.trouble(
      new SkeinError('OUTBOX_CORRUPT', `outbox replaced; the fate of at most ${unknown} records is unknown`, {
        cause,
        fix: 'Check the disk. The damaged file lies beside the new one as *.corrupt-*.',
        data: { unknown },
      }),
    );
  }

  state(stream: Stream): StreamState {
    return this.#states.get(stream)!;
  }

  /** Only inside {@link write}. */
  save(state: StreamState): void {
    this.queries.saveState(state);
    this.#states.set(state.stream, state);
  }

  /** Everything the stream stores. */
  totalBytes(stream: Stream): Bytes {
    return this.queries.totalBytes(stream) + this.chunks.totals(stream).bytes;
  }

  /** One transaction; on a full disk room is made, twice, and the task runs again. @throws SkeinError */
  write<T>(task: () => T): T {
    for (const makeRoom of [() => this.#freeze(), () => this.#giveUp()]) {
      try {
        return this.transaction(task);
      } catch (cause) {
        const error = diskError(cause);
        if (error.code !== 'DISK_FULL' || !makeRoom()) throw error;
      }
    }
    try {
      return this.transaction(task);
    } catch (cause) {
      throw diskError(cause);
    }
  }

  transaction<T>(task: () => T): T {
    const before = new Map(this.#states);
    try {
      return this.database.transaction(task).immediate();
    } catch (error) {
      this.#states = before;
      this.queries.forget();
      throw error;
    }
  }

  /**
   * The reserve's space lets the log be moved into the database. From then on the database may not grow: what it
   * lacks shows at once as SQLITE_FULL and not at the next checkpoint, when the log could never be emptied again.
   */
  #freeze(): boolean {
    releaseReserve(this.options.path);
    this.#refillAt = this.options.clock.mono() + REFILL_EVERY_MS;
    this.#checkpoint();
    this.#limitPages(this.#pages('page_count'));
    return true;
  }

  /** Where free pages are left from last time, it is the log that finds no space: giving up more would not help. */
  #giveUp(): boolean {
    const free = this.#pages('freelist_count') / Math.max(1, this.#pages('page_count'));
    try {
      const shrunk = free < FREE_ENOUGH && this.shrink();
      this.#checkpoint();
      return shrunk;
    } catch {
      return false;
    }
  }

  /** RESTART: the log keeps its place on the disk and is written from its beginning again. */
  #checkpoint(): void {
    try {
      this.database.pragma('wal_checkpoint(RESTART)');
    } catch {
      // A database that cannot grow: what could be moved was moved.
    }
  }

  #pages(count: 'page_count' | 'freelist_count'): number {
    return this.database.pragma(count, { simple: true }) as number;
  }

  #limitPages(pages: number): void {
    this.database.pragma(`max_page_count = ${pages}`);
  }

  /** Once a minute at most: is there space again? Then the reserve is made anew and the database may grow. */
  refillReserve(): void {
    const { clock, entropy, path, reserveBytes } = this.options;
    if (clock.mono() < this.#refillAt) return;
    this.#refillAt = clock.mono() + REFILL_EVERY_MS;
    if (!fillReserve(path, Math.max(reserveBytes, PROBE_BYTES), (n) => entropy.bytes(n))) return;
    if (reserveBytes === 0) releaseReserve(path);
    this.#limitPages(ANY_PAGES);
  }
}
