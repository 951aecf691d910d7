/** A database of format 1 becomes one of the present format, in one transaction, and learns to give space back. */
import type Database from 'better-sqlite3';
import type { Loss } from './ranges.ts';
import { LOSSES_SCHEMA } from './sqlite-outbox-queries.ts';

const COLUMNS = [
  'chunks ADD COLUMN left_out INTEGER NOT NULL DEFAULT 0',
  'chunks ADD COLUMN alarms INTEGER NOT NULL DEFAULT 0',
  'chunks ADD COLUMN crc INTEGER',
  'batches ADD COLUMN alarms INTEGER NOT NULL DEFAULT 0',
];

export function migrateFrom1(database: Database.Database, format: number): void {
  const move = database.transaction(() => {
    for (const column of COLUMNS) database.exec(`ALTER TABLE ${column}`);
    database.exec(LOSSES_SCHEMA);
    for (const row of database.prepare('SELECT * FROM streams').all() as {
      stream: number;
      state_json: string;
    }[])
      moveLosses(database, row);
    database.pragma(`user_version = ${format}`);
  });
  move.immediate();
  try {
    // The way of a file to give space back is laid down when it is written anew.
    database.exec('VACUUM');
  } catch {
    // No space for a second copy now: this file goes on reusing its own.
  }
}

function moveLosses(database: Database.Database, row: { stream: number; state_json: string }): void {
  const { losses = [], ...state } = JSON.parse(row.state_json) as { losses?: Loss[] };
  const insert = database.prepare('INSERT INTO losses VALUES (@stream, @epoch, @from, @to, @kind, @reason)');
  for (const loss of losses) insert.run({ ...loss, stream: row.stream });
  database
    .prepare('UPDATE streams SET state_json = ? WHERE stream = ?')
    .run(JSON.stringify(state), row.stream);
}
