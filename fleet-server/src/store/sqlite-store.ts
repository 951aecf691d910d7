/** SQLite behind Kysely: WAL and synchronous=FULL, so a commit that returned survives a power cut. */

import type { Bytes } from '@skein/protocol/units.ts';
import Database from 'better-sqlite3';
import { Kysely, type SqliteDatabase, SqliteDialect, type SqliteStatement, sql } from 'kysely';
import { MIGRATIONS } from './migrations.ts';
import type { Tables } from './schema.ts';

export type Store = Kysely<Tables>;

/** Opens `path` (`:memory:` in tests) and applies the migrations it lacks. */
export async function openSqliteStore(path: string): Promise<Store> {
  const database = new Database(path);
  database.pragma('journal_mode = WAL');
  database.pragma('synchronous = FULL');
  database.pragma('foreign_keys = ON');
  // What is deleted, by policy or by erasure, is overwritten with zeros.
  database.pragma('secure_delete = ON');
  migrate(database);
  // After a crash it may hold what an erasure has taken out of the tables.
  database.pragma('wal_checkpoint(TRUNCATE)');
  const store = new Kysely<Tables>({ dialect: new SqliteDialect({ database: withStatements(database) }) });
  // What it has never used it would not close either, and its log would stay in the way of a copy put in its place.
  await pingStore(store);
  return store;
}

/** Statements are prepared once: parsing one costs more than running most. The ones used longest ago are forgotten. */
const KEPT_STATEMENTS = 256;

/**
 * A full or failing disk makes SQLite roll back by itself (sqlite.org/lang_transaction.html, section 3); asked to do it once
 * more it would complain, and that would stand in the place of what went wrong.
 */
const NOTHING = { changes: 0, lastInsertRowid: 0 };
const ROLLED_BACK: SqliteStatement = {
  reader: false,
  all: () => [],
  run: () => NOTHING,
  iterate: () => [].values(),
};

function withStatements(database: Database.Database): SqliteDatabase {
  const kept = new Map<string, SqliteStatement>();
  return {
    close: () => void database.close(),
    prepare(text) {
      if (text === 'rollback' && !database.inTransaction) return ROLLED_BACK;
      const statement = kept.get(text) ?? (database.prepare(text) as unknown as SqliteStatement);
      kept.delete(text);
      kept.set(text, statement);
      if (kept.size > KEPT_STATEMENTS) kept.delete(kept.keys().next().value!);
      return statement;
    },
  };
}

function migrate(database: Database.Database): void {
  database.exec('CREATE TABLE IF NOT EXISTS migrations (id TEXT PRIMARY KEY, at INTEGER NOT NULL)');
  const done = new Set(database.prepare('SELECT id FROM migrations').pluck().all());
  for (const { id, sql: text } of MIGRATIONS.filter((m) => !done.has(m.id))) {
    database.transaction(() => {
      database.exec(text);
      database.prepare('INSERT INTO migrations VALUES (?, unixepoch() * 1000)').run(id);
    })();
  }
}

/** Bytes of its file that hold nothing any more and are written to first. */
export async function reusableBytes(store: Store): Promise<Bytes> {
  const count = await sql<{ freelist_count: number }>`PRAGMA freelist_count`.execute(store);
  const size = await sql<{ page_size: number }>`PRAGMA page_size`.execute(store);
  return (count.rows[0]?.freelist_count ?? 0) * (size.rows[0]?.page_size ?? 0);
}

/** Is the store there and writable? For health checks. */
export async function pingStore(store: Store): Promise<void> {
  await sql`SELECT 1`.execute(store);
}
