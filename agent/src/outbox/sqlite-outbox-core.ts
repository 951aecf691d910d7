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
import { CLEAR, DamagedRow, Hiding, type RowCipher } from './row-cipher.ts';
import { CHUNK_ROW_BYTES, type ChunkQueries, chunkQueries } from './sqlite-outbox-chunks.ts';
import { damageReport, forgotten, type Recovered, recoverStream, remainsOf } from './sqlite-outbox-damage.ts';
import {
  type Damage,
  diskError,
  faultIn,
  openFile,
  readMark,
  removeOldCopies,
  replaceFile,
  writeMark,
} from './sqlite-outbox-file.ts';
import { refuseForeign } from './sqlite-outbox-foreign.ts';
import { type OutboxQueries, outboxQueries } from './sqlite-outbox-queries.ts';
import { carryOver } from './sqlite-outbox-records.ts';
import { rewriteRows } from './sqlite-outbox-rewrite.ts';
import { salvage } from './sqlite-outbox-salvage.ts';
import { DiskSpace, type SpaceOptions } from './sqlite-outbox-space.ts';
import { newStream, type StreamState } from './stream-state.ts';

export interface CoreOptions extends SpaceOptions {
  trouble: (error: SkeinError) => void;
  alone: boolean;
  /** A larger file is not looked through for damage at the start, but when there is time for it. */
  checkedUpTo: Bytes;
  cipher: RowCipher;
  /** All that is stored lies as `cipher` would write it now. */
  rewritten: () => void;
  noteIn?: string | undefined;
}

interface Parts {
  database: Database.Database;
  hiding: Hiding;
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
  /** A row's bytes are not what was written: the next time it is opened the database is salvaged. */
  #doubted: SkeinError | undefined;
  /** What was opened first and was too large is still to be looked through; later openings are for a reason, and do it. */
  #check: 'later' | 'owed' | 'now' = 'later';
  /** While steps written behind wait in an open transaction: what was before them. */
  #held: { states: Map<Stream, StreamState>; unsynced: boolean } | undefined;
  #takenBack = 0;
  readonly #witness: Witness;

  /** @throws SkeinError DISK_FULL, DISK_FAILED */
  constructor(options: CoreOptions) {
    this.options = options;
    this.#witness = openWitness(options, () => this.#name());
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
    const mayWait = this.#check === 'later';
    this.#check = 'now';
    try {
      return this.#openFile(mayWait);
    } catch (error) {
      if (!mayWait || (error as SkeinError).code !== 'OUTBOX_CORRUPT') throw error;
      return this.#openFile(false);
    }
  }

  #openFile(mayWait: boolean): Parts {
    const { path, clock, cipher, checkedUpTo } = this.options;
    const opening = { ...this.options, checkedUpTo: mayWait ? checkedUpTo : Number.POSITIVE_INFINITY };
    const [testimony, marks] = [readTestimony(this.options), readMark(path)];
    let file = openFile(path, clock.now(), opening);
    try {
      this.#use(file.database);
      if (cipher !== CLEAR && !file.damage) refuseForeign(file.database, cipher);
      const forgot = !file.damage && STREAMS.some((stream) => this.#hasForgotten(stream, testimony));
      const doubt = file.damage ? undefined : (this.#doubted ?? (forgot ? forgotten(path) : undefined));
      if (doubt) {
        file.database.close();
        file = replaceFile(path, clock.now(), doubt, opening);
        this.#use(file.database);
      }
      this.#doubted = undefined;
      if (file.damage) this.#recover(file.damage, testimony, marks);
      else this.#load();
      if (cipher !== CLEAR) this.#rewrite(file.damage !== undefined);
      if (file.unchecked) this.#check = 'owed';
    } catch (error) {
      this.shut();
      throw diskError(error);
    }
    this.space.refillReserve();
    return this.#parts!;
  }

  get owesCheck(): boolean {
    return this.#check === 'owed';
  }

  /** @param verdict of a look through the file that was owed. Damage is repaired as if it had been found at the start */
  checked(verdict: string): void {
    if (!this.owesCheck) return;
    this.#check = 'now';
    const fault = faultIn(verdict);
    if (fault) this.#doubt(diskError(fault));
    // Another connection looked through it: what wants to be alone could not be so until now.
    else if (this.options.alone && this.sync()) this.shut();
    this.#open();
  }

  #use(database: Database.Database): void {
    const hiding = new Hiding(this.options.cipher, (stream) => this.#states.get(stream)!.epoch);
    const [queries, chunks] = [outboxQueries(database, hiding), chunkQueries(database, hiding)];
    this.#parts = { database, hiding, queries, chunks, space: new DiskSpace(database, this.options) };
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
    const known = (stream: Stream): string[] =>
      [testimony?.seen.get(stream), ...marks.filter((mark) => mark.stream === stream)].flatMap((each) =>
        each ? [each.epoch] : [],
      );
    const found = aside === undefined ? undefined : salvage(aside, this.options.cipher, known);
    const reports: Recovered[] = [];
    this.#states = new Map();
    this.write(() => {
      for (const stream of STREAMS) {
        const remains = remainsOf(stream, found?.get(stream), testimony, marks);
        const recovered = recoverStream(remains, found?.get(stream), this.newEpoch());
        this.save(recovered.state);
        carryOver(this.chunks, stream, recovered.records);
        reports.push(recovered);
      }
    });
    writeMark(this.options.path, [...this.#states.values()]);
    this.replaced();
    this.options.trouble(damageReport(error, reports));
  }

  /**
   * Encryption was switched on or off. Where there is no room for it, new rows alone are as they are wanted.
   * @param fresh nothing is in it but what was just written
   */
  #rewrite(fresh: boolean): void {
    const { database, hiding } = this.#parts!;
    const { cipher, path, rewritten, trouble } = this.options;
    try {
      const switched = rewriteRows(database, hiding, (step) => this.transaction(step));
      if (switched && cipher.encrypts && !fresh) removeOldCopies(path);
      rewritten();
    } catch (cause) {
      const error = diskError(cause);
      if (error.code === 'DISK_FULL') trouble(error);
      else if (!(error instanceof DamagedRow) || fresh) throw error;
      else {
        this.#doubt(error);
        this.#open();
      }
    }
  }

  /** A database that is not to be trusted is closed; the next step opens it again, and salvages what is damaged. */
  shut(): void {
    this.#takeBack();
    try {
      this.#parts?.database.close();
    } catch {
      // A database that cannot be closed is left to the process's end.
    }
    this.#parts = undefined;
  }

  /** SQLite finds its own damage when it opens the file again; that of a row's bytes it cannot see. */
  #doubt(error: SkeinError): void {
    if (error instanceof DamagedRow) this.#doubted = error;
    this.shut();
  }

  close(): void {
    try {
      if (this.#parts && this.#unsynced) this.#commit(() => this.save(this.state(STREAMS[0])));
    } catch {
      // What was written behind is as after a power cut.
    }
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
      this.#doubt(error);
      return look();
    }
  }

  /** Ordinals grow with time, so that epochs have an order even when the one before is not known. */
  newEpoch(): { epoch: string; ordinal: number } {
    return { epoch: this.#name(), ordinal: Math.max(0, Math.floor(this.options.clock.now() / 1000)) };
  }

  #name(): string {
    return Buffer.from(this.options.entropy.bytes(8)).toString('hex');
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
        return this.#commit(task);
      } catch (cause) {
        const error = diskError(cause);
        this.#takeBack();
        if (error.code === 'OUTBOX_CORRUPT' && !healed) {
          healed = true;
          this.#doubt(error);
        } else if (error.code !== 'DISK_FULL' || !remedies.shift()?.()) throw error;
      }
    }
  }

  #commit<T>(task: () => T): T {
    const done = this.options.alone ? this.#hold(task) : this.transaction(task);
    this.#witness.prepare(this.options.clock.mono());
    this.#release();
    this.#unsynced = false;
    this.#witness.confirm(this.#states.values());
    return done;
  }

  /**
   * A step that the next one makes durable with itself: it is whole or not there after a power cut, as all are, and until
   * {@link sync} nobody outside may be told of it. Where nobody else reads the file it is not even written before: then a
   * kill takes it as a power cut does.
   */
  writeBehind<T>(task: () => T): T {
    try {
      const done = this.options.alone ? this.#hold(task) : this.#writeUnsynced(task);
      this.#unsynced = true;
      return done;
    } catch {
      this.#takeBack();
      return this.write(task);
    }
  }

  #writeUnsynced<T>(task: () => T): T {
    const { database } = this.#open();
    try {
      database.pragma('synchronous = NORMAL');
      return this.transaction(task);
    } finally {
      if (database.open) database.pragma('synchronous = FULL');
    }
  }

  #hold<T>(task: () => T): T {
    const { database } = this.#open();
    if (!this.#held) {
      const before = { states: new Map(this.#states), unsynced: this.#unsynced };
      database.exec('BEGIN IMMEDIATE');
      this.#held = before;
    }
    return this.transaction(task);
  }

  /** What was held is written, and as durable as what it is written with. */
  #release(): void {
    if (this.#held) this.database.exec('COMMIT');
    this.#held = undefined;
  }

  /** What was held is as if it had never been: its records wait to be sealed, its batches to be acknowledged again. */
  #takeBack(): void {
    if (!this.#held) return;
    this.#states = this.#held.states;
    this.#unsynced = this.#held.unsynced;
    this.#held = undefined;
    this.#takenBack++;
    this.#forget();
    try {
      if (this.#parts?.database.inTransaction) this.#parts.database.exec('ROLLBACK');
    } catch {
      this.shut();
    }
  }

  /** What was written behind is durable when it returns; false when it had to be taken back instead. @throws SkeinError */
  sync(): boolean {
    return this.stands(() => {
      if (this.#unsynced) this.write(() => this.save(this.state(STREAMS[0])));
    });
  }

  /** Whether what was written behind is still there after `step`. */
  stands(step: () => void): boolean {
    const before = this.#takenBack;
    step();
    return this.#takenBack === before;
  }

  transaction<T>(task: () => T): T {
    const { database } = this.#open();
    const before = new Map(this.#states);
    try {
      return database.transaction(task).immediate();
    } catch (error) {
      this.#states = before;
      this.#forget();
      throw error;
    }
  }

  /** What was remembered of the rows. */
  #forget(): void {
    this.#parts?.queries.forget();
    this.#parts?.chunks.forget();
  }
}
