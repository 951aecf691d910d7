/** update.db: one row a model, its machine's state as JSON. synchronous=FULL: a save that returned survives a power cut. */
import { asSkeinError, SkeinError } from '@skein/protocol/errors.ts';
import Database from 'better-sqlite3';
import type { UpdateStore } from './ports.ts';

export interface SqliteUpdateStore extends UpdateStore {
  close(): void;
}

/** @throws SkeinError DISK_FAILED */
export function openUpdateStore(path: string): SqliteUpdateStore {
  const db = guarded(() => {
    const opened = new Database(path);
    opened.pragma('journal_mode = WAL');
    opened.pragma('synchronous = FULL');
    opened.exec('CREATE TABLE IF NOT EXISTS machines (model TEXT PRIMARY KEY, state TEXT NOT NULL) STRICT');
    return opened;
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
        : 'Check the disk of the state directory.',
    });
  }
}
