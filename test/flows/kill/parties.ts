/** Child processes that die at any moment, and the ledger that is kept outside of them. */
import { type ChildProcess, spawn } from 'node:child_process';
import { copyFileSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { openBatch, readRecords } from '@skein/protocol/batch/sealed.ts';
import { STREAMS, type Stream } from '@skein/protocol/topics.ts';
import Database from 'better-sqlite3';
import { unpackChunk } from '../../../agent/src/outbox/sqlite-outbox-chunks.ts';

const ROOT = resolve(import.meta.dirname, '../../..');
const NODE = join(ROOT, 'node_modules/.bin/node');

/** A process that is started again after each kill, with its settings in a file. */
export class Mortal {
  readonly lines: string[] = [];
  kills = 0;
  #child: ChildProcess | undefined;
  #gone: Promise<void> | undefined;
  readonly #start: () => ChildProcess;
  readonly #onLine: (line: string) => void;

  constructor(start: () => ChildProcess, onLine: (line: string) => void = () => {}) {
    this.#start = start;
    this.#onLine = onLine;
  }

  spawn(): void {
    const child = this.#start();
    this.#child = child;
    this.#gone = new Promise((done) => child.once('close', () => done()));
    child.once('exit', (code) => {
      if (code !== null) this.lines.push(`ended by itself with ${code}`);
    });
    createInterface({ input: child.stdout! }).on('line', (line) => {
      this.lines.push(line);
      this.#onLine(line);
    });
    child.stderr?.on('data', (chunk) => this.lines.push(`stderr ${chunk}`));
  }

  send(line: string): void {
    this.#child!.stdin!.write(`${line}\n`);
  }

  /** SIGKILL; resolves when it is gone and all it said was read. */
  async kill(): Promise<void> {
    if (this.#child?.kill('SIGKILL')) this.kills++;
    await this.#gone;
  }
}

export function nodeProcess(script: string, settings: object, folder: string): ChildProcess {
  const file = join(folder, `${script}-settings.json`);
  writeFileSync(file, JSON.stringify(settings));
  return spawn(NODE, [join(import.meta.dirname, `${script}.ts`), file], { stdio: ['pipe', 'pipe', 'pipe'] });
}

export const freePort = (): Promise<number> =>
  new Promise((done) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => done(port));
    });
  });

/** `<stream>/<epoch>/<seq>` → the record as JSON. */
export type Contents = Map<string, string>;

/** What a dead agent's files hold: a copy is opened, so that nothing there is touched. */
export function readOutbox(path: string, scratch: string): Contents {
  const copy = mkdtempSync(join(scratch, 'copy-'));
  for (const suffix of ['', '-wal']) {
    if (existsSync(path + suffix)) copyFileSync(path + suffix, join(copy, `outbox.db${suffix}`));
  }
  const database = new Database(join(copy, 'outbox.db'));
  try {
    return contentsOf(database);
  } finally {
    database.close();
    rmSync(copy, { recursive: true, force: true });
  }
}

function contentsOf(database: Database.Database): Contents {
  const contents: Contents = new Map();
  // Killed before its first transaction: nothing was ever accepted.
  if (database.prepare("SELECT 1 FROM sqlite_master WHERE name = 'streams'").get() === undefined)
    return contents;
  const states = database.prepare('SELECT stream, state_json FROM streams').all() as Row[];
  const epochs = new Map(states.map((row) => [row.stream, JSON.parse(row.state_json).epoch as string]));
  for (const row of database.prepare('SELECT stream, seq, body FROM chunks').all() as Row[]) {
    for (const [i, body] of unpackChunk(row.body).entries()) {
      put(contents, key(STREAMS[row.stream]!, epochs.get(row.stream)!, row.seq + i), body);
    }
  }
  const sealed = database.prepare('SELECT bytes FROM batches WHERE bytes IS NOT NULL').all() as Row[];
  for (const row of sealed) addBatch(contents, row.bytes);
  return contents;
}

/** Everything the server has stored, from its own file. */
export function readServer(path: string): Contents {
  const database = new Database(path, { readonly: true });
  try {
    const contents: Contents = new Map();
    for (const row of database.prepare('SELECT bytes FROM batches').all() as Row[]) {
      addBatch(contents, row.bytes);
    }
    return contents;
  } finally {
    database.close();
  }
}

interface Row {
  stream: number;
  seq: number;
  body: Uint8Array;
  state_json: string;
  bytes: Uint8Array;
}

const key = (stream: Stream, epoch: string, seq: number): string => `${stream}/${epoch}/${seq}`;

function addBatch(contents: Contents, bytes: Uint8Array): void {
  const batch = openBatch(bytes);
  const { stream, epoch, seq } = batch.header;
  for (const [i, record] of readRecords(batch).entries()) {
    put(contents, key(stream, epoch, seq + i), JSON.stringify(record));
  }
}

function put(contents: Contents, place: string, body: string): void {
  if (contents.has(place)) throw new Error(`${place} is stored twice`);
  contents.set(place, body);
}
