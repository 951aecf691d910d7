/**
 * The outbox against the same fsync discipline on raw better-sqlite3 (WAL, synchronous=FULL, one row per record):
 * what acceptance, numbering and the ledger cost on top, and what encryption at rest does, as the median of rounds in which
 * all take turns. Then what a full buffer costs, what is written to a card in an hour, and the size of a prediction on the
 * wire.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { rowCipher } from '../../agent/src/at-rest/node-row-cipher.ts';
import type { RowCipher } from '../../agent/src/outbox/row-cipher.ts';
import { openSqliteOutbox } from '../../agent/src/outbox/sqlite-outbox.ts';
import { nativeSigner, systemClock, systemEntropy } from '../../agent/src/system-clock.ts';
import { predictionAt } from '../load/made-batches.ts';
import { median } from '../timing.ts';
import type { Emit } from './measurement.ts';
import { measureCap } from './outbox/at-cap.ts';
import { measureHour } from './outbox/hour-on-card.ts';
import { BUFFER_MIB, measureOpening } from './outbox/opening.ts';

/**
 * Records a commit, and records a round: so many that the mark of the first commit, made anew after thousands, weighs no more
 * than it does in a day.
 */
const GROUPS = [
  [1, 2_000],
  [100, 10_000],
] as const;
const ROUNDS = 7;
/** DESIGN: disk writes at 1 Hz in the `sd` profile. */
const SD_BYTES_PER_HOUR = 3_000_000;

/** A full buffer gives up a batch for each that comes; it must not look at all of them to do so. */
const AT_CAP = 2;

/** Of the 300 ms to a first prediction: it waits for the buffer. */
const OPENED_WITHIN_MS = 30;

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
    for (let i = from; i < from + group; i++) insert.run(i, 0, JSON.stringify(predictionAt(i)));
  });
  const rate = rowsPerSecond(rows, () => {
    for (let i = 0; i < rows; i += group) write(i);
  });
  database.close();
  return rate;
}

const outboxAt = (path: string, cipher?: RowCipher) =>
  openSqliteOutbox({
    path,
    fleet: 'home',
    device: 'd-bench',
    clock: systemClock,
    entropy: systemEntropy,
    signer: nativeSigner(systemEntropy.bytes(32)),
    reserveBytes: 0,
    ...(cipher ? { cipher } : {}),
  });

function accepted(path: string, rows: number, group: number, cipher?: RowCipher): number {
  const outbox = outboxAt(path, cipher);
  const rate = rowsPerSecond(rows, () => {
    for (let i = 0; i < rows; i += group) {
      for (let k = i; k < i + group; k++) outbox.append('predictions', predictionAt(k));
      outbox.commit();
    }
  });
  outbox.close();
  return rate;
}

/** Both in turns, so that a busy disk is busy for both. */
function compare(dir: string, group: number, rows: number) {
  const cipher = rowCipher(systemEntropy.bytes(32));
  const rounds = Array.from({ length: ROUNDS }, (_, i) => {
    const peer = raw(join(dir, `raw-${group}-${i}.db`), rows, group);
    const ours = accepted(join(dir, `ours-${group}-${i}.db`), rows, group);
    const hidden = accepted(join(dir, `hidden-${group}-${i}.db`), rows, group, cipher);
    return { peer, ours, hidden, ratio: ours / peer, cost: hidden / ours };
  });
  const of = (key: keyof (typeof rounds)[number]): number => median(rounds.map((round) => round[key]));
  const [peer, ours, hidden] = [of('peer'), of('ours'), of('hidden')];
  return { peer, ours, hidden, ratio: of('ratio'), cost: of('cost') };
}

export async function run(emit: Emit): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), 'skein-bench-'));
  const bench = 'outbox';
  const seen = { bar: null, holds: null };
  try {
    for (const [group, rows] of GROUPS) {
      const { peer, ours, hidden, ratio, cost } = compare(dir, group, rows);
      const unit = 'rows/s';
      emit({ bench, metric: `raw, ${group} a commit`, value: peer, unit, ...seen });
      emit({ bench, metric: `outbox, ${group} a commit`, value: ours, unit, ...seen });
      emit({ bench, metric: `encrypted outbox, ${group} a commit`, value: hidden, unit, ...seen });
      emit({ bench, metric: `encrypted of clear, ${group} a commit`, value: cost, unit: '×', ...seen });
      const metric = `outbox of raw, ${group} a commit`;
      emit({ bench, metric, value: ratio, unit: '×', bar: '≥ 0.8', holds: ratio >= 0.8 });
    }
    const { empty, full } = measureCap(dir);
    emit({ bench, metric: 'a minute, committed and sealed: empty', value: empty, unit: 'ms', ...seen });
    emit({ bench, metric: 'a minute, committed and sealed: at the cap', value: full, unit: 'ms', ...seen });
    const slower = full / empty;
    emit({
      ...{ bench, metric: 'at the cap of empty', value: slower, unit: '×' },
      ...{ bar: `≤ ${AT_CAP}`, holds: slower <= AT_CAP },
    });
    const { used, lookedThrough } = measureOpening(dir);
    const large = `a buffer of ${BUFFER_MIB} MiB`;
    emit({ bench, metric: `${large}, looked through`, value: lookedThrough, unit: 'ms', ...seen });
    emit({
      ...{ bench, metric: `${large}, opened and committed to`, value: used, unit: 'ms' },
      ...{ bar: `≤ ${OPENED_WITHIN_MS}`, holds: used <= OPENED_WITHIN_MS },
    });
    const { written, wire, by } = measureHour(dir);
    const holds = written <= SD_BYTES_PER_HOUR;
    emit({
      bench,
      metric: `written at 1 Hz, sd (${by})`,
      value: written / 1e6,
      unit: 'MB/h',
      bar: '≤ 3',
      holds,
    });
    emit({ bench, metric: 'a prediction on the wire', value: wire / 3600, unit: 'B', ...seen });
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}
