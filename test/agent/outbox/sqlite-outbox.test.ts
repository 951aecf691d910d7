import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openBatch } from '@skein/protocol/batch/sealed.ts';
import type { SkeinError } from '@skein/protocol/errors.ts';
import Database from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Outbox } from '../../../agent/src/outbox/port.ts';
import { type OutboxOptions, openSqliteOutbox } from '../../../agent/src/outbox/sqlite-outbox.ts';
import { expectClosed, prediction, predictions } from '../../contracts/outbox.contract.ts';
import { seeded, testSigner } from '../../protocol/batch/random.ts';

const signer = testSigner('device');
let dir: string;
let path: string;
let troubles: SkeinError[];
let opened: Outbox[];
const mounted: string[] = [];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'skein-outbox-'));
  path = join(dir, 'outbox.db');
  troubles = [];
  opened = [];
});
afterEach(() => {
  for (const outbox of opened) outbox.close();
  for (const mount of mounted.splice(0)) execFileSync('umount', [mount]);
  rmSync(dir, { recursive: true, force: true });
});

const random = seeded(3);
function open(more: Partial<OutboxOptions> = {}): Outbox {
  const outbox = openSqliteOutbox({
    path,
    fleet: 'home',
    device: 'd-1',
    clock: { now: () => 1_763_812_345_678, mono: () => 0, after: () => ({ cancel() {} }) },
    entropy: { bytes: (n) => Uint8Array.from({ length: n }, () => random() * 256) },
    signer,
    reserveBytes: 0,
    trouble: (error) => troubles.push(error),
    ...more,
  });
  opened.push(outbox);
  return outbox;
}

function fill(outbox: Outbox, from: number, to: number): void {
  for (let i = from; i < to; i++) outbox.append('predictions', prediction(i));
  outbox.commit();
}

const ackOf = (outbox: Outbox) => {
  const row = outbox.seal('predictions')!;
  return { stream: row.stream, epoch: row.epoch, upTo: row.upTo, head: row.hash };
};

/** Overwrites the middle of a file, as a dying card does. */
function damage(file: string): void {
  const bytes = readFileSync(file);
  bytes.fill(0xa5, 50, Math.max(4096, bytes.length >> 1));
  writeFileSync(file, bytes);
}

describe('the SQLite outbox, when its database is destroyed', () => {
  it.each([
    ['overwritten', damage],
    [
      'no database at all',
      (file: string) => writeFileSync(file, 'not a database, but long enough to be one'),
    ],
    ['cut off', (file: string) => truncateSync(file, 5000)],
    ['removed', (file: string) => rmSync(file)],
    ['of another format', (file: string) => void new Database(file).pragma('user_version = 99')],
  ])('starts a new epoch and bounds what is unknown: %s', (_, destroy) => {
    const before = open();
    fill(before, 0, 20);
    before.delivered(ackOf(before));
    fill(before, 20, 30);
    const old = predictions(before);
    before.close();
    destroy(path);
    const outbox = open();
    const ledger = predictions(outbox);
    expectClosed(ledger);
    expect(ledger.epoch).not.toBe(old.epoch);
    expect(ledger).toMatchObject({ accepted: 30, stored: 20 });
    expect(ledger.pending + ledger.unknown, 'read or unknown').toBe(10);
    for (const range of ledger.unknownRanges)
      expect(range).toMatchObject({ epoch: old.epoch, reason: 'database-destroyed' });
    expect(troubles.map((t) => t.code)).toContain('OUTBOX_CORRUPT');
    fill(outbox, 30, 35);
    const { header } = openBatch(outbox.seal('predictions')!.bytes);
    expect(header).toMatchObject({ seq: 0, n: ledger.pending + 5 });
    expectClosed(predictions(outbox));
  });

  it('moves the damaged file aside instead of deleting it', () => {
    fill(open(), 0, 20);
    opened.pop()!.close();
    damage(path);
    open();
    expect(readdirSync(dir).some((name) => name.startsWith('outbox.db.corrupt-'))).toBe(true);
  });

  it('orders the new epoch after the old one even when the clock went back', () => {
    const first = open();
    fill(first, 0, 1);
    const ordinal = openBatch(first.seal('predictions')!.bytes).header.ordinal;
    first.close();
    damage(path);
    const clock = { now: () => 5000, mono: () => 0, after: () => ({ cancel() {} }) };
    const outbox = open({ clock });
    fill(outbox, 1, 2);
    expect(openBatch(outbox.seal('predictions')!.bytes).header.ordinal).toBeGreaterThan(ordinal);
  });

  it('bounds by the mark what it accepted when no witness is left', () => {
    fill(open(), 0, 20);
    opened.pop()!.close();
    damage(path);
    writeFileSync(`${path}.seen`, 'scribble');
    const ledger = predictions(open());
    expectClosed(ledger);
    expect(ledger.accepted).toBeGreaterThanOrEqual(20);
    expect(ledger.accepted).toBeLessThanOrEqual(20 + 4096);
  });

  it('says so when nothing beside it is left', () => {
    fill(open(), 0, 20);
    opened.pop()!.close();
    damage(path);
    for (const page of ['mark', 'seen']) writeFileSync(`${path}.${page}`, 'scribble');
    expectClosed(predictions(open()));
    expect(troubles).toMatchObject([{ code: 'OUTBOX_CORRUPT' }]);
  });

  it.each([
    ['cut', (log: string) => truncateSync(log, Math.floor(statSync(log).size / 2))],
    ['lost', (log: string) => rmSync(log)],
    ['overwritten', (log: string) => writeFileSync(log, Buffer.alloc(statSync(log).size, 0x5a))],
  ])('notices that its log was %s, and names what is unknown', (_, spoil) => {
    const outbox = open();
    fill(outbox, 0, 10);
    const copy = join(dir, 'copy.db');
    for (let i = 10; i < 40; i += 5) fill(outbox, i, i + 5);
    for (const suffix of ['', '-wal', '.mark', '.seen'])
      writeFileSync(copy + suffix, readFileSync(path + suffix));
    const { epoch } = predictions(outbox);
    path = copy;
    spoil(`${copy}-wal`);
    const ledger = predictions(open());
    expectClosed(ledger);
    expect(ledger).toMatchObject({ accepted: 40, stored: 0 });
    expect(ledger.unknown).toBeGreaterThan(0);
    expect(ledger.epoch).not.toBe(epoch);
    expect(troubles).toMatchObject([{ code: 'OUTBOX_CORRUPT', data: { carried: ledger.pending } }]);
    expect(troubles[0]!.message).toContain('predictions');
  });
});

describe('the SQLite outbox on a full disk', () => {
  function mountSmall(): boolean {
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', dir], { stdio: 'ignore' });
      mounted.push(dir);
      return true;
    } catch {
      return false;
    }
  }

  it('keeps what is not committed, drops the oldest by policy, and goes on', ({ skip }) => {
    if (!mountSmall()) skip('needs the right to mount');
    const outbox = open({ reserveBytes: 1 << 20 });
    let i = 0;
    while (!troubles.some((t) => t.data.reason === 'disk-full') && i < 40_000) {
      for (const end = i + 100; i < end; i++) {
        outbox.append('predictions', { ...prediction(i), label: randomBytes(400).toString('base64') });
      }
      outbox.commit();
      if (i % 1000 === 0) outbox.seal('predictions');
      if (i % 5000 === 0) expectClosed(predictions(outbox), `after ${i}`);
    }
    const ledger = predictions(outbox);
    expectClosed(ledger);
    expect(ledger.accepted, 'nothing that was appended is refused').toBe(i);
    expect(ledger.dropped).toBeGreaterThan(0);
    expect(ledger.droppedRanges).toMatchObject([{ from: 0, to: ledger.dropped - 1, reason: 'disk-full' }]);
  });

  it('says DISK_FULL and keeps everything when others filled the disk, until there is space', ({ skip }) => {
    if (!mountSmall()) skip('needs the right to mount');
    let mono = 0;
    const clock = { now: () => 1_763_812_345_678, mono: () => mono, after: () => ({ cancel() {} }) };
    const outbox = open({ clock });
    fill(outbox, 0, 10);
    const hog = join(dir, 'hog');
    expect(() => {
      for (;;) writeFileSync(hog, Buffer.alloc(4096), { flag: 'a' });
    }).toThrow(/ENOSPC/);
    for (let i = 10; i < 3000; i++) outbox.append('predictions', prediction(i));
    expect(() => outbox.commit()).toThrowError(expect.objectContaining({ code: 'DISK_FULL' }));
    const { dropped } = predictions(outbox);
    for (let tries = 0; tries < 20; tries++) expect(() => outbox.commit()).toThrowError(/full/);
    expect(predictions(outbox), 'trying again costs nothing').toMatchObject({ accepted: 10, dropped });
    expectClosed(predictions(outbox));
    rmSync(hog);
    mono += 60_000;
    expect(outbox.commit()).toBe(2990);
    expect(predictions(outbox).accepted).toBe(3000);
    expectClosed(predictions(outbox));
  });

  it('makes its reserve again when there is space', () => {
    let mono = 0;
    const clock = { now: () => 1_763_812_345_678, mono: () => mono, after: () => ({ cancel() {} }) };
    const outbox = open({ reserveBytes: 64 * 1024, clock });
    rmSync(`${path}.reserve`);
    mono += 120_000;
    fill(outbox, 0, 1);
    expect(existsSync(`${path}.reserve`)).toBe(true);
  });
});
