/**
 * The outbox against the same fsync discipline on raw better-sqlite3 (WAL, synchronous=FULL, one row per record):
 * what acceptance, numbering and the ledger cost on top. Then sealing, size on the wire, and bytes written to the
 * disk in the `sd` storage profile at 1 Hz (a commit a minute, a batch a minute).
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { PredictionRecord } from '@skein/protocol/records.ts';
import Database from 'better-sqlite3';
import { openSqliteOutbox } from '../../agent/src/outbox/sqlite-outbox.ts';
import { nativeSigner, systemClock, systemEntropy } from '../../agent/src/system-clock.ts';
import type { Emit } from './measurement.ts';

const ROWS = 20_000;
const GROUPS = [1, 100] as const;
/** DESIGN: disk writes at 1 Hz in the `sd` profile. */
const SD_BYTES_PER_HOUR = 3 << 20;

const record = (i: number): PredictionRecord => ({
  ts: 1_763_812_345_678 + i * 1000,
  mono: i * 1000,
  boot: '0123456789abcdef',
  source: 'host',
  model: 'host',
  version: '1.0.0',
  label: i % 50 === 0 ? 'unusual' : 'usual',
  score: Math.fround(((i * 104_729) % 1_000_003) / 1_000_003),
  alarm: 0,
  latency_us: 300 + ((i * 31) % 200),
});

const rowsPerSecond = (rows: number, task: () => void): number => {
  const start = performance.now();
  task();
  return rows / ((performance.now() - start) / 1000);
};

function raw(path: string, rows: number, group: number): number {
  const database = new Database(path);
  database.pragma('journal_mode = WAL');
  database.pragma('synchronous = FULL');
  database.exec('CREATE TABLE records (seq INTEGER PRIMARY KEY, at INTEGER, body TEXT)');
  const insert = database.prepare('INSERT INTO records VALUES (?, ?, ?)');
  const write = database.transaction((from: number) => {
    for (let i = from; i < from + group; i++) insert.run(i, 0, JSON.stringify(record(i)));
  });
  const rate = rowsPerSecond(rows, () => {
    for (let i = 0; i < rows; i += group) write(i);
  });
  database.close();
  return rate;
}

const outboxAt = (path: string) =>
  openSqliteOutbox({
    path,
    fleet: 'home',
    device: 'd-bench',
    clock: systemClock,
    entropy: systemEntropy,
    signer: nativeSigner(systemEntropy.bytes(32)),
    reserveBytes: 0,
  });

function accepted(path: string, rows: number, group: number): number {
  const outbox = outboxAt(path);
  const rate = rowsPerSecond(rows, () => {
    for (let i = 0; i < rows; i += group) {
      for (let k = i; k < i + group; k++) outbox.append('predictions', record(k));
      outbox.commit();
    }
  });
  outbox.close();
  return rate;
}

/** Bytes that this process has caused to be written, as the kernel counts them. */
const writtenBytes = (): number =>
  Number(/^write_bytes: (\d+)$/m.exec(readFileSync('/proc/self/io', 'utf8'))![1]);

/** An hour of the `sd` profile: 60 records a commit, a batch each, delivered at once. */
function hourOnCard(path: string): { written: number; wire: number } {
  const outbox = outboxAt(path);
  const before = writtenBytes();
  let wire = 0;
  for (let minute = 0; minute < 60; minute++) {
    for (let i = 0; i < 60; i++) outbox.append('predictions', record(minute * 60 + i));
    outbox.commit();
    const row = outbox.seal('predictions')!;
    wire += row.bytes.length;
    outbox.delivered({ stream: row.stream, epoch: row.epoch, upTo: row.upTo, head: row.hash });
  }
  outbox.close();
  return { written: writtenBytes() - before, wire };
}

export async function run(emit: Emit): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), 'skein-bench-'));
  const bench = 'outbox';
  try {
    for (const group of GROUPS) {
      const rows = group === 1 ? ROWS / 20 : ROWS;
      const peer = raw(join(dir, `raw-${group}.db`), rows, group);
      const ours = accepted(join(dir, `ours-${group}.db`), rows, group);
      const unit = 'rows/s';
      emit({ bench, metric: `raw, ${group} a commit`, value: peer, unit, bar: null, holds: null });
      const metric = `outbox, ${group} a commit`;
      emit({ bench, metric, value: ours, unit, bar: '≥ 0.8 × raw', holds: ours >= 0.8 * peer });
    }
    const { written, wire } = hourOnCard(join(dir, 'sd.db'));
    const holds = written <= SD_BYTES_PER_HOUR;
    emit({
      bench,
      metric: 'written at 1 Hz, sd',
      value: written / 2 ** 20,
      unit: 'MiB/h',
      bar: '≤ 3',
      holds,
    });
    emit({
      bench,
      metric: 'a prediction on the wire',
      value: wire / 3600,
      unit: 'B',
      bar: null,
      holds: null,
    });
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}
