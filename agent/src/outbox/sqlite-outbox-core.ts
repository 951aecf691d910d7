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
import { diskError, fillReserve, openFile, releaseReserve } from './sqlite-outbox-file.ts';
import { type OutboxQueries, outboxQueries } from './sqlite-outbox-queries.ts';
import { afterDestruction, newStream, type StreamState } from './stream-state.ts';

const REFILL_EVERY_MS: Millis = 60_000;

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
  /** Gives up what is dispensable in every stream; true when anything went. Set by the outbox. */
  shrink: () => boolean = () => false;
  #states = new Map<Stream, StreamState>();
  #refillAt: Millis = 0;

  constructor(options: CoreOptions) {
    this.options = options;
    const { database, destroyed } = openFile(options.path, options.clock.now());
    this.database = database;
    this.queries = outboxQueries(database);
    const before = new Map(destroyed?.reservations.map((r) => [r.stream, r]));
    this.write(() => {
      for (const stream of STREAMS) {
        const stored = this.queries.loadState(stream);
        if (stored) this.#states.set(stream, stored);
        else this.save(this.#firstState(stream, before.get(stream)));
      }
    });
    fillReserve(options.path, options.reserveBytes, (n) => options.entropy.bytes(n));
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

  /** One transaction; on a full disk room is made and the task runs once more. @throws SkeinError */
  write<T>(task: () => T): T {
    try {
      return this.transaction(task);
    } catch (cause) {
      const error = diskError(cause);
      if (error.code !== 'DISK_FULL' || !this.#makeRoom()) throw error;
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
      throw error;
    }
  }

  /** The reserve lets the deletions be written; checkpoints let the log be used again instead of growing. */
  #makeRoom(): boolean {
    const released = releaseReserve(this.options.path);
    this.#refillAt = this.options.clock.mono() + REFILL_EVERY_MS;
    try {
      this.database.pragma('wal_checkpoint(RESTART)');
      const shrunk = this.shrink();
      this.database.pragma('wal_checkpoint(RESTART)');
      return released || shrunk;
    } catch {
      return released;
    }
  }

  refillReserve(): void {
    const { clock, entropy, path, reserveBytes } = this.options;
    if (clock.mono() < this.#refillAt) return;
    this.#refillAt = clock.mono() + REFILL_EVERY_MS;
    fillReserve(path, reserveBytes, (n) => entropy.bytes(n));
  }
}
