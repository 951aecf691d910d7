/**
 * trust.db: the whole trust state in one transaction, `synchronous = EXTRA` (FULL, and the directory is synced when
 * the journal goes). The guarded part is one row of text with its own checksum, and stands a second time in
 * `trust.guard` beside it; documents are rows that are verified again whenever they are read. What was judged with a state
 * is a row that counts only beside that very state.
 *
 * Damage: of two intact copies of the guarded part the later one counts. A database that can not be opened is moved
 * to `trust.db.damaged` and made anew from the guard; the documents are then fetched again. Only when both copies are
 * destroyed is the device without pinned roots, and says so.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, renameSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { asSkeinError, SkeinError } from '@skein/protocol/errors.ts';
import Database from 'better-sqlite3';
import { isDamage, soundOrThrow } from '../sqlite-damage.ts';
import { openDiskTrustGuard, type TrustGuard } from './disk-trust-guard.ts';
import {
  decodeGuarded,
  encodeGuarded,
  type GuardedState,
  type Judged,
  pinnedState,
  type TrustState,
  type TrustStore,
} from './trust-state.ts';

const TABLES = [
  'CREATE TABLE IF NOT EXISTS guarded (id INTEGER PRIMARY KEY CHECK (id = 1), text TEXT NOT NULL)',
  'CREATE TABLE IF NOT EXISTS documents (repo TEXT NOT NULL, role TEXT NOT NULL, bytes BLOB NOT NULL, PRIMARY KEY (repo, role))',
  'CREATE TABLE IF NOT EXISTS judged (id INTEGER PRIMARY KEY CHECK (id = 1), text TEXT NOT NULL, sum TEXT NOT NULL)',
];

/** Another process of this device (`skein-agent status`) holds the file only for moments. */
const BUSY_MS = 2_000;

/** Writes only what differs: an unchanged 6 MB targets document costs a read. */
const WRITE_DOCUMENT = `
INSERT INTO documents VALUES (?, ?, ?) ON CONFLICT (repo, role) DO UPDATE SET bytes = excluded.bytes WHERE bytes <> excluded.bytes`;

const KEEP_JUDGED = 'INSERT INTO judged VALUES (1, ?, ?)';

/** Binds what was judged to the state that it came with. */
const sumOf = (guarded: string, judged: string): string =>
  createHash('sha256').update(guarded).update(judged).digest('hex');

interface DocumentRow {
  repo: 'image' | 'director';
  role: string;
  bytes: Buffer;
}

export class SqliteTrustStore implements TrustStore {
  readonly #database: Database.Database;
  readonly #guard: TrustGuard;
  #sequence = 0;

  /** @param path of trust.db; its folder is made. @throws SkeinError DISK_FAILED */
  constructor(path: string) {
    mkdirSync(dirname(path), { recursive: true });
    this.#guard = openDiskTrustGuard(join(dirname(path), 'trust.guard'));
    this.#database = openOrReplace(path);
  }

  load(): TrustState | undefined {
    const latest = this.#guarded();
    if (!latest) return undefined;
    this.#sequence = latest.sequence;
    return { ...latest.state, documents: this.#documents() };
  }

  commit(state: TrustState, judged?: Judged): void {
    if (!judged && this.#has(state)) return;
    const sequence = Math.max(this.#sequence, this.#guarded()?.sequence ?? 0) + 1;
    const text = encodeGuarded(sequence, state);
    this.#inTransaction(() => {
      this.#database.prepare('INSERT OR REPLACE INTO guarded VALUES (1, ?)').run(text);
      this.#writeDocuments(state.documents);
      this.#database.prepare('DELETE FROM judged').run();
      const said = judged && JSON.stringify(judged);
      if (said) this.#database.prepare(KEEP_JUDGED).run(said, sumOf(text, said));
    });
    this.#sequence = sequence;
    this.#guard.write(text);
  }

  /** Only beside two equal copies of the state that it came with: then neither is torn nor older. */
  judged(): Judged | undefined {
    const text = this.#row();
    if (text === undefined || text !== this.#guard.read()) return undefined;
    const row = this.#read(() => this.#database.prepare('SELECT text, sum FROM judged').get()) as
      | { text: string; sum: string }
      | undefined;
    return row && row.sum === sumOf(text, row.text) ? (JSON.parse(row.text) as Judged) : undefined;
  }

  pin(imageRoot: Uint8Array, directorRoot: Uint8Array): void {
    this.commit(pinnedState(imageRoot, directorRoot));
  }

  close(): void {
    this.#database.close();
  }

  /** A refresh that reached nothing new, as each is that finds nobody, costs no write. */
  #has(state: TrustState): boolean {
    const text = encodeGuarded(this.#sequence, state);
    const same = text === this.#row() && text === this.#guard.read();
    return same && isDeepStrictEqual(this.#documents(), state.documents);
  }

  #row(): string | undefined {
    const text = this.#read(() => this.#database.prepare('SELECT text FROM guarded').pluck().get());
    return typeof text === 'string' ? text : undefined;
  }

  #guarded(): { sequence: number; state: GuardedState } | undefined {
    const texts = new Set([this.#row(), this.#guard.read()].filter((text) => text !== undefined));
    const intact = [...texts].map(decodeGuarded).filter((copy) => copy !== undefined);
    return intact.sort((a, b) => b.sequence - a.sequence)[0];
  }

  #documents(): TrustState['documents'] {
    const rows = this.#read(() => this.#database.prepare('SELECT * FROM documents').all()) as
      | DocumentRow[]
      | undefined;
    const of = (repo: string) => (rows ?? []).filter((row) => row.repo === repo);
    const image = Object.fromEntries(of('image').map((row) => [row.role, new Uint8Array(row.bytes)]));
    const director = of('director')[0];
    return director ? { image, director: new Uint8Array(director.bytes) } : { image };
  }

  #writeDocuments({ image, director }: TrustState['documents']): void {
    const rows = Object.entries(image).map(([role, bytes]) => ['image', role, bytes] as const);
    const wanted = director ? [...rows, ['director', 'targets', director] as const] : rows;
    const kept = new Set(wanted.map(([repo, role]) => `${repo} ${role}`));
    for (const { repo, role } of this.#database
      .prepare('SELECT repo, role FROM documents')
      .all() as DocumentRow[]) {
      if (kept.has(`${repo} ${role}`)) continue;
      this.#database.prepare('DELETE FROM documents WHERE repo = ? AND role = ?').run(repo, role);
    }
    const write = this.#database.prepare(WRITE_DOCUMENT);
    for (const row of wanted) write.run(...row);
  }

  /** Pages torn under an open database are damage like any other: what can not be read is not there. */
  #read<T>(query: () => T): T | undefined {
    try {
      return query();
    } catch {
      return undefined;
    }
  }

  #inTransaction(work: () => void): void {
    try {
      this.#database.transaction(work)();
    } catch (thrown) {
      const code = (thrown as { code?: string }).code === 'SQLITE_FULL' ? 'DISK_FULL' : 'DISK_FAILED';
      throw new SkeinError(code, `trust.db: ${asSkeinError(thrown).message}`, { cause: thrown });
    }
  }
}

/** Only damage makes it anew; a file that is locked, unreadable or on a failing disk is left as it is. */
function openOrReplace(path: string): Database.Database {
  try {
    return open(path);
  } catch (thrown) {
    if (!isDamage(thrown)) throw diskFailed(thrown);
    rmSync(`${path}-journal`, { force: true });
    renameSync(path, `${path}.damaged`);
    return open(path);
  }
}

const diskFailed = (thrown: unknown) =>
  new SkeinError('DISK_FAILED', `trust.db: ${asSkeinError(thrown).message}`, { cause: thrown });

/** @throws when the file is not a sound database */
function open(path: string): Database.Database {
  const database = new Database(path, { timeout: BUSY_MS });
  try {
    database.pragma('journal_mode = DELETE');
    database.pragma('synchronous = EXTRA');
    soundOrThrow(database, TABLES);
    database.exec(TABLES.join(';'));
    return database;
  } catch (thrown) {
    database.close();
    throw thrown;
  }
}
