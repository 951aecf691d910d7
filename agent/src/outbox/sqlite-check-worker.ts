/** Looks through a database on a thread and a connection of its own, and says what SQLite does: `ok`, or what is wrong. */
import { parentPort, workerData } from 'node:worker_threads';
import Database from 'better-sqlite3';
import { diskError } from './sqlite-outbox-file.ts';

/** Much of what is wrong SQLite says by refusing to look any further. */
function verdictOn(database: Database.Database): string {
  try {
    return database.pragma('quick_check(1)', { simple: true }) as string;
  } catch (error) {
    const { code, message } = diskError(error);
    if (code === 'OUTBOX_CORRUPT') return message;
    throw error;
  }
}

const database = new Database(workerData as string, { readonly: true, fileMustExist: true });
try {
  parentPort!.postMessage(verdictOn(database));
} finally {
  database.close();
}
