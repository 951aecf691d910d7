/**
 * The database's place on the disk: what to do when there is none left, and giving back what is no longer needed.
 *
 * On a full disk the reserve is released; its space lets the log be moved into the database. From then on the database
 * may not grow: what it lacks shows at once as SQLITE_FULL and not at the next checkpoint, when the log could never be
 * emptied again.
 */
import type { Clock, Entropy } from '@skein/protocol/ports.ts';
import type { Bytes, Millis } from '@skein/protocol/units.ts';
import type Database from 'better-sqlite3';
import { fillReserve, releaseReserve } from './disk-reserve.ts';

const REFILL_EVERY_MS: Millis = 60_000;
/** Share of the database's pages. */
const FREE_ENOUGH = 0.05;
const PROBE_BYTES: Bytes = 64 * 1024;
/** SQLite's own limit. */
const ANY_PAGES = 4_294_967_294;
/** Pages that are free again are given back in steps, once they are this many and a quarter of the file. */
const GIVE_BACK_FROM = 512;
const GIVE_BACK_SHARE = 0.25;
const GIVE_BACK_STEP = 4096;

export interface SpaceOptions {
  path: string;
  clock: Clock;
  entropy: Entropy;
  reserveBytes: Bytes;
}

export class DiskSpace {
  readonly #options: SpaceOptions;
  readonly #database: Database.Database;
  #refillAt: Millis = Number.NEGATIVE_INFINITY;

  constructor(database: Database.Database, options: SpaceOptions) {
    this.#database = database;
    this.#options = options;
  }

  freeze(): boolean {
    releaseReserve(this.#options.path);
    this.#refillAt = this.#options.clock.mono() + REFILL_EVERY_MS;
    this.#checkpoint();
    this.#limitPages(this.#pages('page_count'));
    return true;
  }

  /** Where free pages are left from last time, it is the log that finds no space: giving up more would not help. */
  giveUp(shrink: () => boolean): boolean {
    const free = this.#pages('freelist_count') / Math.max(1, this.#pages('page_count'));
    try {
      const shrunk = free < FREE_ENOUGH && shrink();
      this.#checkpoint();
      return shrunk;
    } catch {
      return false;
    }
  }

  /** Once a minute at most: is there space again? Then the reserve is made anew and the database may grow. */
  refillReserve(): void {
    const { clock, entropy, path, reserveBytes } = this.#options;
    if (clock.mono() < this.#refillAt) return;
    this.#refillAt = clock.mono() + REFILL_EVERY_MS;
    if (!fillReserve(path, Math.max(reserveBytes, PROBE_BYTES), (n) => entropy.bytes(n))) return;
    if (reserveBytes === 0) releaseReserve(path);
    this.#limitPages(ANY_PAGES);
  }

  /** A backlog that is gone leaves a file as long as it was. */
  get isSlack(): boolean {
    const free = this.#pages('freelist_count');
    return free >= GIVE_BACK_FROM && free >= GIVE_BACK_SHARE * this.#pages('page_count');
  }

  /** Its end is cut off, and the log with it. Outside of any transaction. */
  giveBack(): void {
    this.#database.pragma(`incremental_vacuum(${GIVE_BACK_STEP})`);
    this.#database.pragma('wal_checkpoint(TRUNCATE)');
  }

  /** RESTART: the log keeps its place on the disk and is written from its beginning again. */
  #checkpoint(): void {
    try {
      this.#database.pragma('wal_checkpoint(RESTART)');
    } catch {
      // A database that cannot grow: what could be moved was moved.
    }
  }

  #pages(count: 'page_count' | 'freelist_count'): number {
    return this.#database.pragma(count, { simple: true }) as number;
  }

  #limitPages(pages: number): void {
    this.#database.pragma(`max_page_count = ${pages}`);
  }
}
