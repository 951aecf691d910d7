/**
 * What every step of the outbox shares: the streams' states, the statements, and a transaction that believes a new
 * state only once it is committed.
 *
 * A task handed to {@link OutboxCore.write} reads what it needs inside itself: when the disk is full it runs a
 * second time, after room was made, and the rows may then be others.
 */
import { SkeinError } from '@skein/protocol/errors.ts';
import { STREAMS, type Stream } from '@skein/protocol/topics.ts';
import type { Bytes } from '@skein/protocol/units.ts';
import type Database from 'better-sqlite3';
import { sizeOf } from './ranges.ts';
import { CHUNK_ROW_BYTES, type ChunkQueries, chunkQueries } from './sqlite-outbox-chunks.ts';
import { diskError, openFile } from './sqlite-outbox-file.ts';
import { type OutboxQueries, outboxQueries } from './sqlite-outbox-queries.ts';
import { DiskSpace, type SpaceOptions } from './sqlite-outbox-space.ts';
import { afterDestruction, newStream, type StreamState } from './stream-state.ts';

export interface CoreOptions extends SpaceOptions {
  trouble: (error: SkeinError) => void;
}

export class OutboxCore {
  readonly options: CoreOptions;
  readonly database: Database.Database;
  readonly queries: OutboxQueries;
  readonly chunks: ChunkQueries;
  /** Gives up what is dispensable in every stream; true when anything went. Set by the outbox. */
  shrink: () => boolean = () => false;
  readonly space: DiskSpace;
  #states = new Map<Stream, StreamState>();

  constructor(options: CoreOptions) {
    this.options = options;
    const { database, destroyed } = openFile(options.path, options.clock.now());
    this.database = database;
    this.queries = outboxQueries(database);
    this.chunks = chunkQueries(database);
    this.space = new DiskSpace(database, options);
    const before = new Map(destroyed?.reservations.map((r) => [r.stream, r]));
    this.write(() => {
      for (const stream of STREAMS) {
        const stored = this.queries.loadState(stream);
        if (stored) this.#states.set(stream, stored);
        else this.save(this.#firstState(stream, before.get(stream)));
      }
    });
    this.space.refillReserve();
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
    this.queries.saveState(state, this.#states.get(state.stream)?.losses ?? []);
    this.#states.set(state.stream, state);
  }

  /** What everything that the stream stores takes on the disk, about. */
  totalBytes(stream: Stream): Bytes {
    const { bytes, rows } = this.chunks.totals(stream);
    return this.queries.totalBytes(stream) + bytes + rows * CHUNK_ROW_BYTES;
  }

  /** One transaction; on a full disk room is made, twice, and the task runs again. @throws SkeinError */
  write<T>(task: () => T): T {
    for (const makeRoom of [() => this.space.freeze(), () => this.space.giveUp(this.shrink)]) {
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
      this.chunks.forget();
      throw error;
    }
  }
}
