import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openSqliteStore } from '@skein/fleet-server/store/sqlite-store.ts';
import { sql } from 'kysely';
import { expect, it } from 'vitest';

it('says that the disk is full, also when SQLite took the transaction back by itself', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'skein-store-'));
  const store = await openSqliteStore(join(folder, 'store.db'));
  try {
    const { rows } = await sql<{ page_count: number }>`PRAGMA page_count`.execute(store);
    await sql.raw(`PRAGMA max_page_count = ${rows[0]!.page_count + 4}`).execute(store);
    const filled = store.transaction().execute(async (transaction) => {
      await sql`CREATE TABLE filler (bytes BLOB)`.execute(transaction);
      for (let i = 0; i < 64; i++) await sql`INSERT INTO filler VALUES (zeroblob(4000))`.execute(transaction);
    });
    await expect(filled).rejects.toMatchObject({ code: 'SQLITE_FULL' });
    const left = await sql`SELECT 1 FROM sqlite_schema WHERE name = 'filler'`.execute(store);
    expect(left.rows).toEqual([]);
  } finally {
    await store.destroy();
    rmSync(folder, { recursive: true, force: true });
  }
});

it('leaves no log behind when it is closed, also when nobody asked it anything', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'skein-store-'));
  try {
    for (let opened = 0; opened < 2; opened++) {
      const store = await openSqliteStore(join(folder, 'store.db'));
      await store.destroy();
      expect(existsSync(join(folder, 'store.db-wal'))).toBe(false);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
