/**
 * The outbox's files: `<path>` (SQLite, WAL, synchronous=FULL), `<path>.mark` (what outlives its destruction) and
 * `<path>.reserve` (space that is given back when the disk is full, because then even DELETE fails).
 *
 * A database that cannot be read is moved aside and never repaired: what it still has is read from there. Of such copies the latest is
 * kept. The mark is replaced
 * atomically and always ahead of the database, so what it cannot vouch for is bounded.
 */
import { createHash } from 'node:crypto';
import {
  closeSync,
  existsSync,
  fsyncSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Bytes, Millis } from '@skein/protocol/units.ts';
import Database from 'better-sqlite3';
import type { RowCipher } from './row-cipher.ts';
import { CHUNKS_SCHEMA } from './sqlite-outbox-chunks.ts';
import { refuseForeignFile } from './sqlite-outbox-foreign.ts';
import { migrateFrom1 } from './sqlite-outbox-migration.ts';
import { BATCH_INDICES, BATCHES_SCHEMA, LOSSES_SCHEMA } from './sqlite-outbox-queries.ts';
import type { Reservation } from './stream-state.ts';

/** Of the tables. 1: no losses of their own, no sampling, no checksums. */
const FORMAT = 2;
/** Small pages: a step changes a few rows, and every page it touches is written twice. */
const PAGE_BYTES: Bytes = 1024;
/** The log is emptied at this length, half a MiB: all of it must fit the reserve when the disk is full. */
const LOG_PAGES = 512;
/** Of `auto_vacuum`. */
const INCREMENTAL = 2;
/** What it keeps of the file in memory. */
const CACHE_BYTES: Bytes = 512 << 10;

const SCHEMA = `
CREATE TABLE IF NOT EXISTS streams (stream INTEGER PRIMARY KEY, state_json TEXT NOT NULL);
${CHUNKS_SCHEMA};
${BATCHES_SCHEMA};
${LOSSES_SCHEMA};
`;

export function diskError(cause: unknown): SkeinError {
  if (cause instanceof SkeinError) return cause;
  const code = String((cause as { code?: unknown })?.code ?? '');
  const message = cause instanceof Error ? cause.message : String(cause);
  if (code === 'SQLITE_FULL' || code === 'ENOSPC') {
    return new SkeinError('DISK_FULL', `outbox: ${message}`, {
      cause,
      fix: 'Free space on the buffer’s disk.',
    });
  }
  if (code.startsWith('SQLITE_CORRUPT') || code === 'SQLITE_NOTADB') {
    return new SkeinError('OUTBOX_CORRUPT', `outbox: ${message}`, {
      cause,
      fix: 'Restart the agent: it moves the damaged file aside and starts a new epoch. Check the disk.',
    });
  }
  return new SkeinError('DISK_FAILED', `outbox: ${message}`, {
    cause,
    fix: 'The disk refuses or fails: remount it writable, check or replace it. New records wait in memory meanwhile.',
  });
}

export interface OpenedFile {
  database: Database.Database;
  /** Set when the database had to be replaced. */
  damage: Damage | undefined;
  /** It was too large to be looked through at once; nobody has it alone yet, so that another connection can. */
  unchecked: boolean;
}

export interface Damage {
  error: SkeinError;
  /** Where the damaged file lies now; undefined: there was none. */
  aside: string | undefined;
}

export interface Opening {
  /** Nobody else may read it meanwhile. */
  alone: boolean;
  cipher: RowCipher;
  /** A larger file is not looked through for damage before it is used. */
  checkedUpTo: Bytes;
}

/**
 * @throws SkeinError DISK_FULL, DISK_FAILED when not even a new database can be made; DATA_KEY_* when it is not ours to read
 */
export function openFile(path: string, now: Millis, opening: Opening): OpenedFile {
  const { alone, checkedUpTo } = opening;
  if (!existsSync(path) && existsSync(`${path}.mark`)) {
    for (const suffix of ['-wal', '-shm']) rmSync(path + suffix, { force: true });
    const error = new SkeinError('OUTBOX_CORRUPT', `outbox: ${path} is gone`);
    return { database: openSound(path, alone), damage: { error, aside: undefined }, unchecked: false };
  }
  try {
    const unchecked = existsSync(path) && statSync(path).size > checkedUpTo;
    const database = unchecked ? open(path, false) : openSound(path, alone);
    return { database, damage: undefined, unchecked };
  } catch (cause) {
    const error = diskError(cause);
    if (error.code !== 'OUTBOX_CORRUPT') throw error;
    return replaceFile(path, now, error, opening);
  }
}

/** Moves a closed database aside and begins a new one. @throws SkeinError DATA_KEY_*: then it stays where it is */
export function replaceFile(
  path: string,
  now: Millis,
  error: SkeinError,
  { alone, cipher }: Pick<Opening, 'alone' | 'cipher'>,
): OpenedFile {
  refuseForeignFile(path, cipher);
  removeOldCopies(path);
  const aside = `${path}.corrupt-${now}`;
  for (const suffix of ['', '-wal', '-shm']) {
    if (existsSync(path + suffix)) renameSync(path + suffix, aside + suffix);
  }
  return { database: openSound(path, alone), damage: { error, aside }, unchecked: false };
}

/** One damaged database may lie beside the one that replaces it: more would fill the disk. */
export function removeOldCopies(path: string): void {
  const [folder, name] = [dirname(path), basename(path)];
  for (const old of readdirSync(folder).filter((each) => each.startsWith(`${name}.corrupt-`)))
    rmSync(join(folder, old), { force: true });
}

function open(path: string, alone: boolean): Database.Database {
  const database = new Database(path);
  try {
    // The log's index is then in memory: in a file it would be written to the card again and again.
    if (alone) database.pragma('locking_mode = EXCLUSIVE');
    database.pragma(`page_size = ${PAGE_BYTES}`);
    // To say again what is so already is a transaction: a start on a full disk would end with it.
    if (database.pragma('auto_vacuum', { simple: true }) !== INCREMENTAL)
      database.pragma('auto_vacuum = INCREMENTAL');
    database.pragma('journal_mode = WAL');
    database.pragma('synchronous = FULL');
    // The library's own 16 MiB would fill up over weeks offline, and stay.
    database.pragma(`cache_size = ${-CACHE_BYTES / 1024}`);
    database.pragma(`wal_autocheckpoint = ${LOG_PAGES}`);
    database.pragma(`journal_size_limit = ${2 * LOG_PAGES * PAGE_BYTES}`);
    checkFormat(database);
    database.exec(SCHEMA);
    makeIndices(database);
    return database;
  } catch (error) {
    database.close();
    throw error;
  }
}

/** A buffer of an earlier version has none: on a full disk it goes on without, more slowly. */
function makeIndices(database: Database.Database): void {
  try {
    database.exec(BATCH_INDICES);
  } catch (error) {
    if (diskError(error).code !== 'DISK_FULL') throw error;
  }
}

function openSound(path: string, alone: boolean): Database.Database {
  const database = open(path, alone);
  try {
    const fault = faultIn(database.pragma('quick_check(1)', { simple: true }) as string);
    if (!fault) return database;
    throw fault;
  } catch (error) {
    database.close();
    throw error;
  }
}

/** What SQLite's quick_check said, as the error that it would throw when it comes upon it. */
export const faultIn = (verdict: string): Error | undefined =>
  verdict === 'ok' ? undefined : Object.assign(new Error(verdict), { code: 'SQLITE_CORRUPT' });

/** @throws an error that counts as corrupt: such a file is moved aside and accounted for as any other. */
function checkFormat(database: Database.Database): void {
  const empty = database.prepare('SELECT count(*) FROM sqlite_master').pluck().get() === 0;
  const format = database.pragma('user_version', { simple: true });
  if (empty) database.pragma(`user_version = ${FORMAT}`);
  else if (format === 1) migrateFrom1(database, FORMAT);
  else if (format !== FORMAT) {
    const message = `${database.name} is of format ${format}; this version writes ${FORMAT}`;
    throw Object.assign(new Error(message), { code: 'SQLITE_NOTADB' });
  }
}

/** The reservations, or none when the mark is missing or damaged: it carries its own hash. */
export function readMark(path: string): Reservation[] {
  try {
    const [hash, text] = readFileSync(`${path}.mark`, 'utf8').split('\n', 2);
    if (text === undefined || createHash('sha256').update(text).digest('hex') !== hash) return [];
    return JSON.parse(text) as Reservation[];
  } catch {
    return [];
  }
}

/** Replaces the mark and makes it durable before it returns. */
export function writeMark(path: string, reservations: readonly Reservation[]): void {
  const text = JSON.stringify(reservations);
  const hash = createHash('sha256').update(text).digest('hex');
  const part = `${path}.mark.part`;
  const file = openSync(part, 'w', 0o600);
  try {
    writeSync(file, `${hash}\n${text}\n`);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  renameSync(part, `${path}.mark`);
  const folder = openSync(dirname(path), 'r');
  fsyncSync(folder);
  closeSync(folder);
}
