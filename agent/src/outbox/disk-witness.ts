/**
 * `<path>.seen`: each durable step's numbers, beside the database, so that a log that is lost or cut is noticed: a database
 * that knows less than its witness has forgotten something that was accepted.
 *
 * Written in place, without waiting for the disk, so it costs no more than a copy. It survives the process but not always
 * the power: then it is behind the database, which proves nothing and harms nothing.
 *
 * Layout: two pages of {@link SIZE}, written in turns; a page is `crc32 in hex, newline, JSON, newline`, then spaces.
 */
import { closeSync, constants, openSync, readFileSync, writeSync } from 'node:fs';
import { crc32 } from 'node:zlib';
import type { Stream } from '@skein/protocol/topics.ts';
import type { Bytes } from '@skein/protocol/units.ts';
import type { StreamState } from './stream-state.ts';

const SIZE: Bytes = 2048;
const PAGES = [0, 1];

export type Seen = Omit<StreamState, 'losses' | 'head' | 'deliveredHead'>;

interface Page {
  turn: number;
  /** Of the machine: in another one what the kernel had not yet written is gone. */
  boot: string;
  seen: Seen[];
}

export interface Testimony {
  seen: ReadonlyMap<Stream, Seen>;
  /** Nothing can be missing: the machine runs since it was written. */
  exact: boolean;
}

export interface Witness {
  /** Never throws: it is a help, not a promise. */
  write(states: Iterable<StreamState>): void;
  close(): void;
}

const bootOfMachine = (): string => {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  } catch {
    return '';
  }
};

function readPage(text: string): Page | undefined {
  try {
    const [sum, json = ''] = text.split('\n', 2);
    return Number.parseInt(sum!, 16) === crc32(json) ? (JSON.parse(json) as Page) : undefined;
  } catch {
    return undefined;
  }
}

function latestPage(path: string): Page | undefined {
  let whole: Buffer;
  try {
    whole = readFileSync(`${path}.seen`);
  } catch {
    return undefined;
  }
  return PAGES.map((i) => readPage(whole.toString('utf8', i * SIZE, (i + 1) * SIZE)))
    .filter((page) => page !== undefined)
    .sort((a, b) => b.turn - a.turn)[0];
}

/** What the witness saw last; undefined when there is none. */
export function readTestimony(path: string): Testimony | undefined {
  const page = latestPage(path);
  if (!page) return undefined;
  return { seen: new Map(page.seen.map((one) => [one.stream, one])), exact: page.boot === bootOfMachine() };
}

export function openWitness(path: string): Witness {
  let turn = latestPage(path)?.turn ?? 0;
  const boot = bootOfMachine();
  let file: number | undefined;
  return {
    write(states) {
      try {
        file ??= openSync(`${path}.seen`, constants.O_RDWR | constants.O_CREAT, 0o600);
        const seen = [...states].map(({ losses: _, head: __, deliveredHead: ___, ...rest }) => rest);
        const text = JSON.stringify({ turn: ++turn, boot, seen } satisfies Page);
        const page = `${crc32(text).toString(16)}\n${text}\n`.padEnd(SIZE);
        writeSync(file, page, (turn % 2) * SIZE);
      } catch {
        // The next step writes it again.
      }
    },
    close() {
      if (file !== undefined) closeSync(file);
      file = undefined;
    },
  };
}
