/** Looks through a database on a thread and a connection of its own, and says what SQLite does: `ok`, or what is wrong. */
import { parentPort, workerData } from 'node:worker_threads';
import Database from 'better-sqlite3';

const database = new Database(workerData as string, { readonly: true, fileMustExist: true });
try {
  parentPort!.postMessage(database.pragma('quick_check(1)', { simple: true }));
} finally {
  database.close();
}
