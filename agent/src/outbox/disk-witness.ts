/**
 * `<path>.seen`: each durable step's numbers, beside the database, so that a log that is lost or cut is noticed: a database
 * that knows less than its witness has forgotten something that was accepted.
 *
 * Written in place, without waiting for the disk, so it costs no more than a copy. It survives the process but not always
 * the power: then it is behind the database, which proves nothing and harms nothing.
 *
 * To spare a card every step is noted in a folder in memory, which is as exact while the machine runs, and only now and
 * then on the disk, at the commit of the step that follows: one journal entry of the file system holds both. After a power
 * cut it is at most {@link ON_DISK_EVERY_MS} and a step behind. A disk that lost no more than that of what it said was
 * written is not found out; what was lost of more is bounded by the mark, as without a witness.
 *
 * Layout: two pages of {@link SIZE}, written in turns; a page is `crc32 in hex, newline, JSON, newline`; what is behind is old.
 */
import { closeSync, constants, openSync, readFileSync, writeSync } from 'node:fs';
import { basename, join } from 'node:path';
import { crc32 } from 'node:zlib';
import type { Stream } from '@skein/protocol/topics.ts';
import { type Bytes, MINUTE, type Millis } from '@skein/protocol/units.ts';
import type { StreamState } from './stream-state.ts';

/** A block of the disk, so that a torn one takes one page. */
const SIZE: Bytes = 4096;
const PAGES = [0, 1];
export const ON_DISK_EVERY_MS: Millis = 5 * MINUTE;

export type Seen = Omit<StreamState, 'losses' | 'head' | 'deliveredHead'>;

interface Page {
  turn: number;
  /** Of the machine: in another one what the kernel had not yet written is gone. */
  boot: string;
  /** Of this database: a note about one that was removed since says nothing. */
  id: string;
  seen: Seen[];
  /** Steps were taken since that are noted elsewhere. */
  behind: boolean;
}

export interface Testimony {
  seen: ReadonlyMap<Stream, Seen>;
  /** Nothing can be missing: the machine runs since it was written. */
  exact: boolean;
}

export interface WitnessPlace {
  path: string;
  /** In memory, this machine's own; undefined: every step is written to the disk. */
  noteIn?: string | undefined;
}

/** None of it throws: it is a help, not a promise. */
export interface Witness {
  /** Before a step is committed. @param now monotonic */
  prepare(now: Millis): void;
  /** After it, as durable as it is. */
  confirm(states: Iterable<StreamState>): void;
  close(): void;
}

const bootOfMachine = (): string => {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  } catch {
    return '';
  }
};

const onDisk = ({ path }: WitnessPlace): string => `${path}.seen`;
const inMemory = ({ path, noteIn }: WitnessPlace): string | undefined =>
  noteIn === undefined ? undefined : join(noteIn, `${basename(path)}.seen`);

function readPage(text: string): Page | undefined {
  try {
    const [sum, json = ''] = text.split('\n', 2);
    if (Number.parseInt(sum!, 16) !== crc32(json)) return undefined;
    return { id: '', behind: false, ...(JSON.parse(json) as Omit<Page, 'id' | 'behind'>) };
  } catch {
    return undefined;
  }
}

/** In their places. */
function pagesIn(file: string): (Page | undefined)[] {
  try {
    const whole = readFileSync(file);
    return PAGES.map((i) => readPage(whole.toString('utf8', i * SIZE, (i + 1) * SIZE)));
  } catch {
    return [];
  }
}

const latest = (pages: readonly (Page | undefined)[]): Page | undefined =>
  pages.reduce((last, page) => (page && page.turn > (last?.turn ?? -1) ? page : last), undefined);

function latestPage(place: WitnessPlace): Page | undefined {
  const [page, memory] = [latest(pagesIn(onDisk(place))), inMemory(place)];
  const note = page && memory ? latest(pagesIn(memory)) : undefined;
  return note && note.id === page?.id && note.turn > page.turn ? note : page;
}

/** What the witness saw last; undefined when there is none. */
export function readTestimony(place: WitnessPlace): Testimony | undefined {
  const page = latestPage(place);
  if (!page) return undefined;
  const exact = page.boot === bootOfMachine() && !page.behind;
  return { seen: new Map(page.seen.map((one) => [one.stream, one])), exact };
}

/** @param newId names a database that has no witness yet */
export const openWitness = (place: WitnessPlace, newId: () => string): Witness => {
  return new PagesWitness(place, latestPage(place) ?? { turn: 0, id: newId(), seen: [] });
};

class PagesWitness implements Witness {
  readonly #about: Pick<Page, 'boot' | 'id'>;
  readonly #disk: PageFile;
  readonly #note: PageFile | undefined;
  #turn: number;
  #seen: Seen[];
  #dueAt: Millis = Number.NEGATIVE_INFINITY;

  constructor(place: WitnessPlace, { turn, id, seen }: Pick<Page, 'turn' | 'id' | 'seen'>) {
    this.#about = { boot: bootOfMachine(), id };
    this.#disk = new PageFile(onDisk(place));
    const memory = inMemory(place);
    this.#note = memory === undefined ? undefined : new PageFile(memory);
    this.#turn = turn;
    this.#seen = seen;
  }

  prepare(now: Millis): void {
    if (!this.#note || now < this.#dueAt) return;
    this.#dueAt = now + ON_DISK_EVERY_MS;
    this.#write(this.#disk, true);
  }

  confirm(states: Iterable<StreamState>): void {
    this.#seen = [...states].map(({ losses: _, head: __, deliveredHead: ___, ...rest }) => rest);
    if (!this.#note || !this.#write(this.#note, false)) this.#write(this.#disk, false);
  }

  close(): void {
    if (this.#note) this.#write(this.#disk, false);
    for (const file of [this.#disk, this.#note]) file?.close();
  }

  #write(file: PageFile, behind: boolean): boolean {
    return file.write({ turn: ++this.#turn, ...this.#about, seen: this.#seen, behind });
  }
}

class PageFile {
  readonly #path: string;
  /** The page written last. */
  #at: number;
  #file: number | undefined;

  constructor(path: string) {
    this.#path = path;
    const pages = pagesIn(path);
    this.#at = pages.indexOf(latest(pages));
  }

  /** False when it could not be. */
  write(page: Page): boolean {
    try {
      this.#file ??= openSync(this.#path, constants.O_RDWR | constants.O_CREAT, 0o600);
      this.#at = (this.#at + 1) % PAGES.length;
      const text = JSON.stringify(page);
      const whole = `${crc32(text).toString(16)}\n${text}\n`;
      return whole.length <= SIZE && writeSync(this.#file, whole, this.#at * SIZE) === whole.length;
    } catch {
      return false;
    }
  }

  close(): void {
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = undefined;
  }
}
