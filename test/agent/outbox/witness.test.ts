/** On a card steps are noted in memory and rarely on the disk: a kill is seen exactly, after a power cut within a bound. */
import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { SkeinError } from '@skein/protocol/errors.ts';
import { MINUTE } from '@skein/protocol/units.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ON_DISK_EVERY_MS } from '../../../agent/src/outbox/disk-witness.ts';
import type { Outbox } from '../../../agent/src/outbox/port.ts';
import { openSqliteOutbox } from '../../../agent/src/outbox/sqlite-outbox.ts';
import { expectClosed, prediction, predictions } from '../../contracts/outbox.contract.ts';
import { seeded, testSigner } from '../../protocol/batch/random.ts';

const FILES = ['', '-wal', '.mark', '.seen'];
/** Numbers that are vouched for at a time, before a commit's own five. */
const BLOCK = 4096 + 5;
const signer = testSigner('device');
const random = seeded(11);
let dir: string;
let noteIn: string;
let mono: number;
let troubles: SkeinError[];
let opened: Outbox[];
let mounted: string | undefined;

beforeEach(() => {
  dir = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'skein-witness-'));
  noteIn = join(dir, 'notes');
  for (const folder of ['notes', 'device', 'copy']) mkdirSync(join(dir, folder));
  [mono, troubles, opened, mounted] = [0, [], [], undefined];
});
afterEach(() => {
  for (const outbox of opened) outbox.close();
  if (mounted !== undefined) execFileSync('umount', [mounted]);
  rmSync(dir, { recursive: true, force: true });
});

const device = (): string => join(dir, 'device', 'outbox.db');
const copy = (): string => join(dir, 'copy', 'outbox.db');

function open(path = device()): Outbox {
  const outbox = openSqliteOutbox({
    ...{ path, fleet: 'home', device: 'd-1', signer, reserveBytes: 0, alone: true, noteIn },
    clock: { now: () => 1_763_812_345_678 + mono, mono: () => mono, after: () => ({ cancel() {} }) },
    entropy: { bytes: (n) => Uint8Array.from({ length: n }, () => random() * 256) },
    trouble: (error) => troubles.push(error),
  });
  opened.push(outbox);
  return outbox;
}

/** A commit of five a minute. */
function live(outbox: Outbox, from: number, to: number): void {
  for (let i = from; i < to; i++) {
    outbox.append('predictions', prediction(i));
    if (i % 5 !== 4) continue;
    outbox.commit();
    mono += MINUTE;
  }
}

/** As a kill or a power cut leaves the disk. */
function take(suffixes: readonly string[], from = device(), to = copy()): void {
  for (const suffix of suffixes) copyFileSync(from + suffix, to + suffix);
}

const loseNotes = (): void => rmSync(join(noteIn, 'outbox.db.seen'));

describe('the witness of an outbox on a card', () => {
  it.each([
    ['cut', (log: string) => truncateSync(log, statSync(log).size - 1)],
    ['lost', (log: string) => rmSync(log)],
    ['overwritten', (log: string) => writeFileSync(log, Buffer.alloc(statSync(log).size, 0x5a))],
  ])('knows after a kill to the record what a log that was %s has taken', (_, spoil) => {
    const outbox = open();
    live(outbox, 0, 40);
    take(FILES);
    spoil(`${copy()}-wal`);
    const before = predictions(outbox);
    const ledger = predictions(open(copy()));
    expectClosed(ledger);
    expect(ledger).toMatchObject({ accepted: 40, pending: 40 - ledger.unknown });
    expect(ledger.unknown).toBeGreaterThan(0);
    expect(ledger.epoch).not.toBe(before.epoch);
    expect(troubles).toMatchObject([{ code: 'OUTBOX_CORRUPT', data: { unknown: ledger.unknown } }]);
  });

  it('notices a database that was replaced by an older one, by a single step even', () => {
    const outbox = open();
    live(outbox, 0, 35);
    take(FILES);
    live(outbox, 35, 40);
    take(['.mark', '.seen']);
    const ledger = predictions(open(copy()));
    expectClosed(ledger);
    expect(ledger).toMatchObject({ accepted: 40, pending: 35, unknown: 5 });
    expect(ledger.unknownRanges).toMatchObject([{ from: 35, to: 39, reason: 'database-destroyed' }]);
  });

  it('is believed after a power cut that took its notes and nothing else', () => {
    live(open(), 0, 40);
    take(FILES);
    loseNotes();
    expect(predictions(open(copy()))).toMatchObject({ accepted: 40, pending: 40, unknown: 0 });
    expect(troubles).toEqual([]);
  });

  it('bounds after a power cut what a log that was lost with its notes had', () => {
    const outbox = open();
    live(outbox, 0, 200);
    take(FILES);
    loseNotes();
    rmSync(`${copy()}-wal`);
    const ledger = predictions(open(copy()));
    expectClosed(ledger);
    expect(ledger.accepted).toBeGreaterThanOrEqual(200);
    expect(ledger.unknown).toBeLessThanOrEqual(BLOCK);
    expect(troubles).toMatchObject([{ code: 'OUTBOX_CORRUPT' }]);
    expect(troubles[0]!.message).toContain('predictions');
  });

  it('notices after a power cut what was replaced, where more than five minutes and a step are missing', () => {
    const outbox = open();
    live(outbox, 0, 50);
    take(FILES);
    const steps = ON_DISK_EVERY_MS / MINUTE + 2;
    live(outbox, 50, 50 + 5 * steps);
    take(['.mark', '.seen']);
    loseNotes();
    const ledger = predictions(open(copy()));
    expectClosed(ledger);
    expect(ledger.accepted, 'at most too many, never too few').toBeGreaterThanOrEqual(50 + 5 * steps);
    expect(ledger).toMatchObject({ pending: 50 });
    expect(ledger.unknown).toBeLessThanOrEqual(BLOCK);
  });

  it('knows after a clean end all that was, without notes', () => {
    const outbox = open();
    live(outbox, 0, 35);
    take(FILES);
    live(outbox, 35, 40);
    outbox.close();
    take(['.mark', '.seen']);
    loseNotes();
    expect(predictions(open(copy()))).toMatchObject({ accepted: 40, pending: 35, unknown: 5 });
  });

  it('says nothing against a database that was begun anew', () => {
    const outbox = open();
    live(outbox, 0, 40);
    outbox.close();
    for (const suffix of FILES) rmSync(device() + suffix, { force: true });
    expect(predictions(open())).toMatchObject({ accepted: 0, unknown: 0 });
    expect(troubles).toEqual([]);
  });

  it('is kept on the disk where no memory takes its notes', () => {
    rmSync(noteIn, { recursive: true });
    const outbox = open();
    live(outbox, 0, 35);
    take(FILES);
    live(outbox, 35, 40);
    take(['.mark', '.seen']);
    expect(predictions(open(copy()))).toMatchObject({ accepted: 40, pending: 35, unknown: 5 });
  });
});

describe('what an outbox on a card has not written yet', () => {
  it('is taken back when the disk is full: nothing is given out that a kill would take', ({ skip }) => {
    mounted = join(dir, 'device');
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', mounted], { stdio: 'ignore' });
    } catch {
      mounted = undefined;
      skip('needs the right to mount');
    }
    const outbox = open();
    live(outbox, 0, 40);
    expect(outbox.seal('predictions')).toMatchObject({ seq: 0, n: 40 });
    const hog = join(dir, 'device', 'hog');
    expect(() => {
      for (;;) writeFileSync(hog, Buffer.alloc(4096), { flag: 'a' });
    }).toThrow(/ENOSPC/);
    expect(outbox.pending('predictions', 4)).toEqual([]);
    expect(predictions(outbox)).toMatchObject({ accepted: 40, pending: 40 });
    expect(outbox.mark('predictions').sealedNext, 'as if it had never been sealed').toBe(0);
    rmSync(hog);
    mono += MINUTE;
    live(outbox, 40, 45);
    const again = outbox.seal('predictions')!;
    expect(outbox.pending('predictions', 4)).toMatchObject([{ hash: again.hash }]);
    take(FILES);
    expect(open(copy()).pending('predictions', 4)).toMatchObject([{ hash: again.hash }]);
  });

  it('is written when it closes', () => {
    const outbox = open();
    live(outbox, 0, 40);
    const { epoch, hash: head } = outbox.seal('predictions')!;
    expect(outbox.pending('predictions', 1)).toHaveLength(1);
    outbox.delivered({ stream: 'predictions', epoch, upTo: 39, head });
    outbox.close();
    expect(predictions(open())).toMatchObject({ stored: 40, pending: 0 });
  });
});
