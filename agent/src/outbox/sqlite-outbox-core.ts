/**
 * What every step of the outbox shares: the streams' states, the statements, and a transaction that believes a new
 * state only once it is committed.
 *
 * A task handed to {@link OutboxCore.write} reads what it needs inside itself: when the disk is full it runs a
 * second time, after room was made, and the rows may then be others.
 */
import type { SkeinError } from '@skein/protocol/errors.ts';
import { STREAMS, type Stream } from '@skein/protocol/topics.ts';
import type { Bytes } from '@skein/protocol/units.ts';
import type Database from 'better-sqlite3';
import { hasForgotten } from './after-damage.ts';
import { openWitness, readTestimony, type Testimony, type Witness } from './disk-witness.ts';
import { CHUNK_ROW_BYTES, type ChunkQueries, chunkQueries } from './sqlite-outbox-chunks.ts';
import { damageReport, forgotten, type Recovered, recoverStream, remainsOf } from './sqlite-outbox-damage.ts';
import { type Damage, diskError, openFile, readMark, replaceFile, writeMark } from './sqlite-outbox-file.ts';
import { type OutboxQueries, outboxQueries } from './sqlite-outbox-queries.ts';
import { carryOver } from './sqlite-outbox-records.ts';
import { salvage } from './sqlite-outbox-salvage.ts';
import { DiskSpace, type SpaceOptions } from './sqlite-outbox-space.ts';
import { newStream, type StreamState } from './stream-state.ts';

export interface CoreOptions extends SpaceOptions {
  trouble: (error: SkeinError) => void;
  alone: boolean;
}

interface Parts {
  database: Database.Database;
  queries: OutboxQueries;
  chunks: ChunkQueries;
  space: DiskSpace;
}

export class OutboxCore {
  readonly options: CoreOptions;
  /** Gives up what is dispensable in every stream; true when anything went. Set by the outbox. */
  shrink: () => boolean = () => false;
  /** The database was replaced and every stream is in another epoch. Set by the outbox. */
  replaced: () => void = () => {};
  #parts: Parts | undefined;
  #states = new Map<Stream, StreamState>();
  /** Written behind and not yet durable; after a start nobody knows how the process before it ended. */
  #unsynced = true;
  readonly #witness: Witness;

  /** @throws SkeinError DISK_FULL, DISK_FAILED */
  constructor(options: CoreOptions) {
    this.options = options;
    this.#witness = openWitness(options.path);
    this.#open();
  }

  get database(): Database.Database {
    return this.#open().database;
  }
  get queries(): OutboxQueries {
    return this.#open().queries;
  }
  get chunks(): ChunkQueries {
    return this.#open().chunks;
  }
  get space(): DiskSpace {
    return this.#open().space;
  }

  /** Opens what is not open: at the start, and after a database that failed was closed. */
  #open(): Parts {
    if (this.#parts) return this.#parts;
    const { path, clock, alone } = this.options;
    const [testimony, marks] = [readTestimony(path), readMark(path)];
    let file = openFile(path, clock.now(), alone);
    try {
      this.#use(file.database);
      const forgot = !file.damage && STREAMS.some((stream) => this.#hasForgotten(stream, testimony));
      if (forgot) {
        file.database.close();
        file = replaceFile(path, clock.now(), forgotten(path), alone);
        this.#use(file.database);
      }
      if (file.damage) this.#recover(file.damage, testimony, marks);
      else this.#load();
    } catch (error) {
      this.shut();
      throw diskError(error);
    }
    this.space.refillReserve();
    return this.#parts!;
  }

  #use(database: Database.Database): void {
    const [queries, chunks] = [outboxQueries(database), chunkQueries(database)];
    this.#parts = { database, queries, chunks, space: new DiskSpace(database, this.options) };
  }

  #hasForgotten(stream: Stream, testimony: Testimony | undefined): boolean {
    return hasForgotten(this.queries.loadState(stream), testimony?.seen.get(stream));
  }

  #load(): void {
    this.write(() => {
      for (const stream of STREAMS) {
        const stored = this.queries.loadState(stream);
        if (stored) {
          this.#states.set(stream, stored);
          continue;
        }
        const { epoch, ordinal } = this.newEpoch();
        this.save(newStream(stream, epoch, ordinal));
      }
    });
  }

  /** A new epoch for every stream, with all that the damaged database still has and that was surely never sent. */
  #recover({ aside, error }: Damage, testimony: Testimony | undefined, marks: readonly StreamState[]): void {
    const found = aside === undefined ? undefined : salvage(aside);
    const reports: Recovered[] = [];
    this.#states = new Map();
    this.write(() => {
      for (const stream of STREAMS) {
        const remains = remainsOf(stream, found?.get(stream), testimony, marks);
        const recovered = recoverStream(remains, found?.get(stream), this.newEpoch());
        carryOver(this.chunks, stream, recovered.records);
        this.save(recovered.state);
        reports.push(recovered);
      }
    });
    writeMark(this.options.path, [...this.#states.values()]);
    this.replaced();
    this.options.trouble(damageReport(error, reports));
  }

  /** A database that is not to be trusted is closed; the next step opens it again, and salvages what is damaged. */
  shut(): void {
    try {
      this.#parts?.database.close();
    } catch {
      // A database that cannot be closed is left to the process's end.
    }
    this.#parts = undefined;
  }

  close(): void {
    this.shut();
    this.#witness.close();
  }

  /** A look at the database that heals what it finds damaged. @throws SkeinError */
  read<T>(look: () => T): T {
    try {
      return look();
    } catch (cause) {
      const error = diskError(cause);
      if (error.code !== 'OUTBOX_CORRUPT') throw error;
      this.shut();
      return look();
    }
  }

  /** Ordinals grow with time, so that epochs have an order even when the one before is not known. */
  newEpoch(): { epoch: string; ordinal: number } {
    const epoch = Buffer.from(this.options.entropy.bytes(8)).toString('hex');
    return { epoch, ordinal: Math.max(0, Math.floor(this.options.clock.now() / 1000)) };
  }

  state(stream: Stream): StreamState {
    return this.#states.get(stream)!;
  }

  /** Only inside {@link write}. */
  save(next: StreamState): void {
    const state = { ...next, steps: next.steps + 1 };
    this.queries.saveState(state, this.#states.get(state.stream)?.losses ?? []);
    this.#states.set(state.stream, state);
  }

  /** What everything that the stream stores takes on the disk, about. */
  totalBytes(stream: Stream): Bytes {
    const { bytes, rows } = this.chunks.totals(stream);
    return this.queries.totalBytes(stream) + bytes + rows * CHUNK_ROW_BYTES;
  }

  /** One transaction; on a full disk room is made, twice, and after damage it is repaired; then the task runs again. @throws SkeinError */
  write<T>(task: () => T): T {
    const remedies = [() => this.space.freeze(), () => this.space.giveUp(this.shrink)];
    let healed = false;
    for (;;) {
      try {
        const done = this.transaction(task);
        this.#unsynced = false;
        this.#witness.write(this.#states.values());
        return done;
      } catch (cause) {
        const error = diskError(cause);
        if (error.code === 'OUTBOX_CORRUPT' && !healed) {
          healed = true;
          this.shut();
        } else if (error.code !== 'DISK_FULL' || !remedies.shift()?.()) throw error;
      }
    }
  }

  /**
   * A step that the next one makes durable with itself: it is whole or not there after a power cut, as all are, and until
   * {@link sync} nobody outside may be told of it.
   */
  writeBehind<T>(task: () => T): T {
    const { database } = this.#open();
    try {
      database.pragma('synchronous = NORMAL');
      const done = this.transaction(task);
      this.#unsynced = true;
      return done;
    } catch {
      database.pragma('synchronous = FULL');
      return this.write(task);
    } finally {
      if (database.open) database.pragma('synchronous = FULL');
    }
  }

  /** What was written behind is durable when it returns. @throws SkeinError */
  sync(): void {
    if (this.#unsynced) this.write(() => this.save(this.state(STREAMS[0])));
  }

  transaction<T>(task: () => T): T {
    const { database } = this.#open();
    const before = new Map(this.#states);
    try {
      return database.transaction(task).immediate();
    } catch (error) {
      this.#states = before;
      this.#parts?.queries.forget();
      this.#parts?.chunks.forget();
      throw error;
    }
  }
}
