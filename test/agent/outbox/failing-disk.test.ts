/** A disk whose calls fail, by strace's injection into a real process: what waits stays in memory and is written later. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { describe, expect, it } from 'vitest';
import type { StreamLedger } from '../../../agent/src/outbox/port.ts';
import { readLedger } from '../../../agent/src/outbox/sqlite-outbox-ledger.ts';
import { expectClosed } from '../../contracts/outbox.contract.ts';

interface Said {
  failures: Record<string, number>;
  most: number;
  ledger: StreamLedger;
}

const canTrace = (): boolean => {
  try {
    execFileSync('strace', ['-e', 'trace=none', 'true'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
};

/** The database is there already: how many calls make it is none of the test's business. */
function commits(path: string, inject: string, before = () => {}, only: string[] = []): Said {
  const program = join(import.meta.dirname, 'failing', 'commits.ts');
  execFileSync(process.execPath, [program, path, '0']);
  before();
  const files = only.flatMap((file) => ['-P', file]);
  const trace = ['-f', '-qq', '-o', '/dev/null', ...files, '-e', `inject=${inject}`];
  const ran = spawnSync('strace', [...trace, process.execPath, program, path], { encoding: 'utf8' });
  if (ran.status !== 0) throw new Error(`${ran.status}: ${ran.stderr}`);
  return JSON.parse(ran.stdout) as Said;
}

describe('the SQLite outbox on a disk that fails', () => {
  it('opens a buffer of an earlier version, which has no indices, on a full disk', ({ skip }) => {
    if (!canTrace()) skip('needs strace');
    const dir = mkdtempSync(join(tmpdir(), 'skein-failing-'));
    try {
      const path = join(dir, 'outbox.db');
      const dropIndices = () => {
        const database = new Database(path);
        database.exec('DROP INDEX batches_open; DROP INDEX batches_doubtful');
        database.close();
      };
      const { failures, ledger } = commits(path, 'pwrite64:error=ENOSPC', dropIndices, [`${path}-wal`]);
      expect(failures).toEqual({ DISK_FULL: 20 });
      expectClosed(ledger);
      expect(ledger).toMatchObject({ accepted: 0, waiting: 100, refused: 0 });
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  });

  it.for([
    ['an fsync that fails for a while', 'fsync,fdatasync:error=EIO:when=10..14', 'DISK_FAILED'],
    ['a write that fails for a while', 'pwrite64:error=EIO:when=40..50', 'DISK_FAILED'],
    ['a disk that turns read-only and back', 'pwrite64:error=EROFS:when=40..50', 'DISK_FAILED'],
    ['a disk that is full for a while', 'pwrite64:error=ENOSPC:when=40..55', 'DISK_FULL'],
  ] as const)('keeps records in memory and writes them when it can: %s', ([, inject, code], { skip }) => {
    if (!canTrace()) skip('needs strace');
    const dir = mkdtempSync(join(tmpdir(), 'skein-failing-'));
    try {
      const path = join(dir, 'outbox.db');
      const { failures, most, ledger } = commits(path, inject);
      expect(Object.keys(failures)).toEqual(failures[code] ? [code] : []);
      expectClosed(ledger);
      // A full disk is tried again after a minute: until then they wait, and the oldest make room.
      const [waiting, dropped] = code === 'DISK_FULL' ? [ledger.waiting, ledger.dropped] : [0, 0];
      const accepted = 100 - waiting;
      const pending = accepted - dropped;
      expect(ledger).toMatchObject({
        accepted,
        pending,
        dropped,
        unknown: 0,
        waiting: 100 - accepted,
        refused: 0,
      });
      if (failures[code]) expect(most).toBeGreaterThan(0);
      expect(readLedger(path)[0], 'and the file has them').toMatchObject({ accepted, pending });
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  });
});
