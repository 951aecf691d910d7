/** What makes a SQLite file damaged, apart from one that is locked, unreadable or on a failing disk: only damage is replaced. */
import type Database from 'better-sqlite3';

const UNSOUND = 'SQLITE_CORRUPT_UNSOUND';

export const isDamage = (thrown: unknown): boolean =>
  /^SQLITE_(CORRUPT|NOTADB|IOERR_SHORT_READ)/.test((thrown as { code?: string } | undefined)?.code ?? '');

/** @throws an error that {@link isDamage} */
export function soundOrThrow(database: Database.Database): void {
  const verdict = database.pragma('quick_check(1)', { simple: true });
  if (verdict !== 'ok') throw Object.assign(new Error(String(verdict)), { code: UNSOUND });
}
