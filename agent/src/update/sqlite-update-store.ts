/**
 * update.db: one row a model, its machine's state as JSON. synchronous=FULL: a save that returned survives a power cut.
 *
 * A damaged one is moved to `update.db.damaged` and begun anew: what was installed is then ordered, fetched and proven
 * again, with the blobs that are there. What may not run is in trust.db.
 */
import { existsSync, renameSync } from 'node:fs';
import { asSkeinError, SkeinError } from '@skein/protocol/errors.ts';
import type { Log } from '@skein/protocol/ports.ts';
import Database from 'better-sqlite3';
import { isDamage, soundOrThrow } from '../sqlite-damage.ts';
import type { UpdateStore } from './ports.ts';

const TABLE = 'CREATE TABLE IF NOT EXISTS machines (model TEXT PRIMARY KEY, state TEXT NOT NULL) STRICT';

export interface SqliteUpdateStore extends UpdateStore {
  close(): void;
}

/** For the one agent of this directory. @throws SkeinError DISK_FAILED when not even a new one can be made */
export function openOrReplaceUpdateStore(path: string, log: Log): SqliteUpdateStore {
  try {
    return openUpdateStore(path);
  } catch (thrown) {
    if (!isDamage((thrown as SkeinError).cause)) throw thrown;
    log.error('update.db is damaged; the state of updates begins anew', {
      error: asSkeinError(thrown).message,
      kept: `${path}.damaged`,
    });
    for (const suffix of ['-shm', '-wal', ''])
      if (existsSync(path + suffix)) renameSync(path + suffix, `${path}.damaged${suffix}`);
    return openUpdateStore(path);
  }
}

/** @throws SkeinError DISK_FAILED, also when it is damaged */
export function openUpdateStore(path: string): SqliteUpdateStore {
  const db = guarded(() => {
    const opened = new Database(path);
    try {
      opened.pragma('journal_mode = WAL');
      opened.pragma('synchronous = FULL');
      soundOrThrow(opened, [TABLE]);
      opened.exec(TABLE);
      return opened;
    } catch (thrown) {
      opened.close();
      throw thrown;
    }
  });
  const load = db.prepare<[string], string>('SELECT state FROM machines WHERE model = ?').pluck();
  const models = db.prepare<[], string>('SELECT model FROM machines ORDER BY model').pluck();
  const save = db.prepare(
    'INSERT INTO machines (model, state) VALUES (?, ?) ON CONFLICT (model) DO UPDATE SET state = excluded.state',
  );
  return {
    load: (model) => guarded(() => load.get(model)),
    models: () => guarded(() => models.all()),
    save: (model, state) => guarded(() => void save.run(model, state)),
    close: () => void db.close(),
  };
}

function guarded<T>(work: () => T): T {
  try {
    return work();
  } catch (cause) {
    const full = (cause as { code?: string }).code === 'SQLITE_FULL';
    throw new SkeinError(full ? 'DISK_FULL' : 'DISK_FAILED', `update.db: ${asSkeinError(cause).message}`, {
      cause,
      fix: full
        ? 'Free space on the disk that holds the state directory.'
        : isDamage(cause)
          ? 'Restart the agent: it moves the damaged file aside and begins anew. Check the disk.'
          : 'Check the disk of the state directory.',
    });
  }
}
