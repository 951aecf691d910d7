/**
 * One agent per state directory: two would cut the same stream into different batches. The lock is SQLite's own exclusive
 * file lock, which the kernel releases when the process dies in whatever way.
 */
import { join } from 'node:path';
import { SkeinError } from '@skein/protocol/errors.ts';
import Database from 'better-sqlite3';

export interface StateLock {
  release(): void;
}

/** @throws SkeinError CONFLICT when another process holds it, DISK_FAILED */
export function lockState(stateDir: string): StateLock {
  const path = join(stateDir, 'agent.lock');
  let database: Database.Database | undefined;
  try {
    database = new Database(path, { timeout: 0 });
    database.pragma('journal_mode = MEMORY');
    database.pragma('locking_mode = EXCLUSIVE');
    database.exec('BEGIN EXCLUSIVE');
  } catch (cause) {
    database?.close();
    if ((cause as { code?: string }).code === 'SQLITE_BUSY')
      throw new SkeinError('CONFLICT', `another skein-agent runs on ${stateDir}`, {
        cause,
        fix: 'Stop it first, or give this one a state directory of its own (stateDir).',
      });
    throw new SkeinError('DISK_FAILED', `cannot lock ${path}: ${(cause as Error).message}`, {
      cause,
      fix: 'Check that the state directory exists and belongs to this user.',
    });
  }
  return { release: () => void database.close() };
}
