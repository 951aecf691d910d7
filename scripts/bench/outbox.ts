/**
 * The outbox against the same fsync discipline on raw better-sqlite3 (WAL, synchronous=FULL, one row per record):
 * what acceptance, numbering and the ledger cost on top, and what encryption at rest does, as the median of rounds in which
 * all take turns. Then sealing,
 * size on the wire, and bytes written to the disk in the `sd` storage profile at 1 Hz (a commit a minute, a batch a
 * minute), by the counters of a block device of its own where one can be made.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import type { HealthRecord } from '@skein/protocol/records.ts';
import type { Bytes } from '@skein/protocol/units.ts';
import Database from 'better-sqlite3';
import { rowCipher } from '../../agent/src/at-rest/node-row-cipher.ts';
import type { Outbox, SealedRow } from '../../agent/src/outbox/port.ts';
import type { RowCipher } from '../../agent/src/outbox/row-cipher.ts';
import { openSqliteOutbox } from '../../agent/src/outbox/sqlite-outbox.ts';
import { nativeSigner, systemClock, systemEntropy } from '../../agent/src/system-clock.ts';
import { predictionAt } from '../load/made-batches.ts';
import type { Emit } from './measurement.ts';

/** Records a commit, and records a round. */
const GROUPS = [
  [1, 200],
  [100, 10_000],
] as const;
const ROUNDS = 7;
/** DESIGN: disk writes at 1 Hz in the `sd` profile. */
const SD_BYTES_PER_HOUR = 3 << 20;

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

const outboxAt = (path: string, alone = false, cipher?: RowCipher) =>
  openSqliteOutbox({
    path,
    fleet: 'home',
    device: 'd-bench',
    clock: systemClock,
    entropy: systemEntropy,
    signer: nativeSigner(systemEntropy.bytes(32)),
    reserveBytes: 0,
    alone,
    ...(cipher ? { cipher } : {}),
  });

function accepted(path: string, rows: number, group: number, cipher?: RowCipher): number {
  const outbox = outboxAt(path, false, cipher);
  const rate = rowsPerSecond(rows, () => {
    for (let i = 0; i < rows; i += group) {
      for (let k = i; k < i + group; k++) outbox.append('predictions', predictionAt(k));
      outbox.commit();
    }
  });
  outbox.close();
  return rate;
}

const health = (i: number): HealthRecord => ({
  ...{ ts: 1_763_812_345_678 + i * 1000, mono: i * 1000, boot: '0123456789abcdef' },
  metrics: Object.fromEntries(
    Array.from({ length: 32 }, (_, k) => [`metric_${k}`, Math.fround(((i + k) * 7919) % 100)]),
  ),
});

/** The hour that is measured comes after the log has reached its length. */
const WARM_UP_MINUTES = 120;
/** Default of `uplink.batchInterval` with storage sd. */
const BATCH_MINUTES = 5;
const SENT = ['predictions', 'health'] as const;

/** The `sd` profile: 60 predictions and 2 health records a commit; a batch of each every five minutes, delivered at once. */
function hourOnCard(path: string, written: () => Bytes, minutePasses: () => void): Omit<Hour, 'by'> {
  const outbox = outboxAt(path, true);
  let [wire, before] = [0, 0];
  for (let minute = 0; minute < WARM_UP_MINUTES + 60; minute++) {
    if (minute === WARM_UP_MINUTES) [wire, before] = [0, written()];
    for (let i = 0; i < 60; i++) outbox.append('predictions', predictionAt(minute * 60 + i));
    for (const half of [0, 30]) outbox.append('health', health(minute * 60 + half));
    outbox.commit();
    if (minute % BATCH_MINUTES === BATCH_MINUTES - 1) wire += deliver(outbox);
    minutePasses();
  }
  const bytes = written() - before;
  outbox.close();
  return { written: bytes, wire };
}

/** As the drain does. Returns the bytes of the predictions. */
function deliver(outbox: Outbox): Bytes {
  let wire = 0;
  for (const stream of SENT) outbox.seal(stream);
  for (const stream of SENT) {
    const [row] = outbox.pending(stream, 1) as [SealedRow];
    if (stream === 'predictions') wire = row.bytes.length;
    outbox.delivered({ stream, epoch: row.epoch, upTo: row.upTo, head: row.hash });
  }
  return wire;
}

/** Bytes that this process has caused to be written, as the kernel counts them: for who may make no device. */
const writtenBySelf = (): Bytes =>
  Number(/^write_bytes: (\d+)$/m.exec(readFileSync('/proc/self/io', 'utf8'))![1]);

const SECTOR: Bytes = 512;
interface Card {
  folder: string;
  /** What the device was given to write so far. */
  written(): Bytes;
  /** All that waits goes to the device, as the kernel does within half a minute. */
  flush(): void;
  remove(): void;
}

/** ext4 on a loop device; undefined without the right to make one. */
function makeCard(dir: string): Card | undefined {
  const [image, folder] = [join(dir, 'card.img'), join(dir, 'card')];
  const run = (command: string, ...args: string[]): string =>
    execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  try {
    writeFileSync(image, '');
    truncateSync(image, 64 << 20);
    mkdirSync(folder);
    run('mkfs.ext4', '-q', '-F', '-b', '4096', '-E', 'lazy_itable_init=0,lazy_journal_init=0', image);
    run('mount', '-o', 'loop,noatime', image, folder);
    const device = basename(run('findmnt', '-n', '-o', 'SOURCE', folder));
    const flush = () => void run('sync', '-f', folder);
    const written = () => {
      flush();
      const fields = readFileSync(`/sys/block/${device}/stat`, 'utf8').trim().split(/\s+/);
      return Number(fields[6]) * SECTOR;
    };
    return { folder, written, flush, remove: () => void run('umount', folder) };
  } catch {
    return undefined;
  }
}

interface Hour {
  written: Bytes;
  wire: Bytes;
  by: string;
}

function measureHour(dir: string): Hour {
  const card = makeCard(dir);
  if (!card) {
    const hour = hourOnCard(join(dir, 'sd.db'), writtenBySelf, () => {});
    return { ...hour, by: '/proc/self/io: no right to make a device' };
  }
  try {
    const hour = hourOnCard(join(card.folder, 'sd.db'), card.written, card.flush);
    return { ...hour, by: 'ext4, device counters' };
  } finally {
    card.remove();
  }
}

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1]!;

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
    const { written, wire, by } = measureHour(dir);
    const holds = written <= SD_BYTES_PER_HOUR;
    const value = written / 2 ** 20;
    emit({ bench, metric: `written at 1 Hz, sd (${by})`, value, unit: 'MiB/h', bar: '≤ 3', holds });
    emit({ bench, metric: 'a prediction on the wire', value: wire / 3600, unit: 'B', ...seen });
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}
