/**
 * What makes a SQLite file damaged, apart from one that is locked, unreadable or on a failing disk: only damage is replaced.
 * Also what SQLite itself still opens, and would then refuse to write to for ever: a header that says how far its reader
 * may go (https://sqlite.org/fileformat.html, bytes 18, 19 and 44), and tables that are not those that were made.
 */
import { closeSync, openSync, readSync } from 'node:fs';
import type Database from 'better-sqlite3';

const UNSOUND = 'SQLITE_CORRUPT_UNSOUND';

/** SQLITE_ERROR: a file of a format that SQLite does not know. The statements that open one are ours and right. */
export const isDamage = (thrown: unknown): boolean =>
  /^SQLITE_(ERROR$|CORRUPT|NOTADB|IOERR_SHORT_READ)/.test(
    (thrown as { code?: string } | undefined)?.code ?? '',
  );

/** @param tables what makes them, one statement each @throws an error that {@link isDamage} */
export function soundOrThrow(database: Database.Database, tables: readonly string[]): void {
  const verdict = database.pragma('quick_check(1)', { simple: true });
  if (verdict !== 'ok') throw unsound(String(verdict));
  const made = tables.map((sql) => sql.replace('IF NOT EXISTS ', ''));
  const found = database.prepare("SELECT sql FROM sqlite_master WHERE type = 'table'").pluck().all();
  if (!found.every((sql) => made.includes(sql as string))) throw unsound('a table is not as it was made');
  if (versionsOf(database.name).some((version) => version > 2)) throw unsound('unknown format versions');
}

/** Above 2 the file may only be read, or not even that. */
function versionsOf(path: string): Uint8Array {
  const versions = new Uint8Array(2);
  const file = openSync(path, 'r');
  try {
    readSync(file, versions, 0, 2, 18);
  } finally {
    closeSync(file);
  }
  return versions;
}

const unsound = (why: string) => Object.assign(new Error(why), { code: UNSOUND });
