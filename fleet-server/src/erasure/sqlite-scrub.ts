/**
 * After rows are gone: the log of changes is written back and cut to nothing. Freed pages and cells were filled with
 * zeros when they were freed (`secure_delete`); only where SQLite moved cells from one page to another, to keep a tree
 * even, it may leave a copy behind in the first one. Those are in indices nearly always, which are then made again.
 */
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Bytes } from '@skein/protocol/units.ts';
import { type Kysely, sql } from 'kysely';
import type { Tables } from '../store/schema.ts';

type Db = Kysely<Tables>;

/** @throws SkeinError CONFLICT while another program reads the database */
export async function cutLog(db: Db): Promise<void> {
  const answer = await sql<{ busy: number }>`PRAGMA wal_checkpoint(TRUNCATE)`.execute(db);
  if (answer.rows[0]?.busy !== 1) return;
  throw new SkeinError('CONFLICT', 'another program has the database open', {
    fix: 'End it (a backup, a sqlite3 shell): its reading keeps the old log of changes.',
  });
}

/** Makes the indices of a table again: far less than the table itself. */
export const reindex = async (db: Db, table: keyof Tables): Promise<void> =>
  void (await sql`REINDEX ${sql.table(table)}`.execute(db));

const TRACES = 'store.traces';

/** True for a database that deleted things before freed pages were filled with zeros. */
export async function hasTraces(db: Db): Promise<boolean> {
  const row = await db.selectFrom('meta').select('key').where('key', '=', TRACES).executeTakeFirst();
  return row !== undefined;
}

/**
 * Writes the whole database anew, without anything that was deleted. Nobody else is served meanwhile.
 * @throws SkeinError DISK_FULL when there is no room for the copy
 */
export async function writeAnew(db: Db, freeBytes: Bytes): Promise<void> {
  const size = await sql<{ size: number }>`
    SELECT page_count * page_size AS size FROM pragma_page_count(), pragma_page_size()`.execute(db);
  const needed = 2 * (size.rows[0]?.size ?? 0);
  if (freeBytes < needed)
    throw new SkeinError('DISK_FULL', 'no room to write the database anew', {
      fix: `Free ${Math.ceil((needed - freeBytes) / 2 ** 20)} MiB on its disk.`,
    });
  await sql`VACUUM`.execute(db);
  await db.deleteFrom('meta').where('key', '=', TRACES).execute();
  await cutLog(db);
}
