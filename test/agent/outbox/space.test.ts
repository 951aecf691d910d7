/** What the real files take, and how memory is bounded while nothing can be written. */
import { existsSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Held } from '../../../agent/src/outbox/held.ts';
import type { Outbox } from '../../../agent/src/outbox/port.ts';
import { DROP_POLICIES } from '../../../agent/src/outbox/retention.ts';
import { type OutboxOptions, openSqliteOutbox } from '../../../agent/src/outbox/sqlite-outbox.ts';
import { DEVICE_SIGNER, expectClosed, prediction, predictions } from '../../contracts/outbox.contract.ts';
import { below, seeded } from '../../protocol/batch/random.ts';

const KIB = 1024;
let dir: string;
let path: string;
let mono = 0;
const random = seeded(7);

beforeEach(() => {
  dir = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'skein-space-'));
  path = join(dir, 'outbox.db');
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const open = (more: Partial<OutboxOptions>): Outbox =>
  openSqliteOutbox({
    path,
    fleet: 'home',
    device: 'd-1',
    clock: { now: () => 1_763_812_345_678 + mono, mono: () => mono, after: () => ({ cancel() {} }) },
    entropy: { bytes: (n) => Uint8Array.from({ length: n }, () => below(random, 256)) },
    signer: DEVICE_SIGNER,
    reserveBytes: 0,
    ...more,
  });
const sizeOf = (suffix: string): number => statSync(path + suffix, { throwIfNoEntry: false })?.size ?? 0;
/** A batch of 20 records that do not compress. */
function batch(outbox: Outbox, i: number): void {
  for (let k = i * 20; k < i * 20 + 20; k++) {
    const label = Buffer.from(Array.from({ length: 40 }, () => below(random, 256))).toString('base64');
    outbox.append('predictions', { ...prediction(k), label, alarm: i % 9 === 0 ? 1 : 0 });
  }
  outbox.commit();
  outbox.seal('predictions');
}

describe('a batch for which there is no room', () => {
  it('is not sealed for good: who seals until nothing is left comes to an end', () => {
    const capBytes = { predictions: 40 * KIB };
    open({}).close();
    const database = new Database(path);
    database.exec("CREATE TRIGGER stuck BEFORE DELETE ON batches BEGIN SELECT RAISE(ABORT, 'stuck'); END");
    database.close();
    const troubles: string[] = [];
    const outbox = open({ capBytes, alone: true, trouble: ({ message }) => troubles.push(message) });
    for (let i = 0; i < 40; i++) batch(outbox, i);
    expect(troubles.join()).toContain('stuck');
    let sealed = 0;
    while (sealed < 100 && outbox.seal('predictions')) sealed++;
    expect(sealed).toBeLessThan(100);
    const ledger = predictions(outbox);
    expectClosed(ledger);
    expect(ledger).toMatchObject({ accepted: 800, pending: 800 });
    outbox.close();
  });
});

describe('the files of the outbox', () => {
  it.each(DROP_POLICIES)(
    'stay within the cap and one segment, whatever comes, and the log within its own: %s',
    (policy) => {
      const cap = 400 * KIB;
      const outbox = open({ capBytes: { predictions: cap }, policies: { predictions: policy } });
      for (let i = 0; i < 300; i++) {
        batch(outbox, i);
        if (i % 50 === 0) expectClosed(predictions(outbox));
      }
      const ledger = predictions(outbox);
      expectClosed(ledger);
      expect(ledger.accepted).toBe(6000);
      expect(ledger.dropped).toBeGreaterThan(1000);
      expect(ledger.pendingBytes, 'the cap is made use of').toBeGreaterThan(cap / 3);
      const segment = 4 * KIB;
      const others = 32 * KIB;
      expect(sizeOf('')).toBeLessThan(cap + segment + others);
      expect(sizeOf('-wal')).toBeLessThanOrEqual(1100 * KIB);
      outbox.close();
    },
  );

  it('shrink again when a backlog is delivered and no longer kept', () => {
    const outbox = open({ keepMs: 1000 });
    for (let i = 0; i < 700; i++) batch(outbox, i);
    const full = sizeOf('') + sizeOf('-wal');
    mono += 3_600_000;
    for (
      let rows = outbox.pending('predictions', 100);
      rows.length > 0;
      rows = outbox.pending('predictions', 100)
    ) {
      const last = rows.at(-1)!;
      outbox.delivered({ ...last, head: last.hash });
    }
    for (let i = 700; i < 703; i++) {
      mono += 3_600_000;
      batch(outbox, i);
      const [row] = outbox.pending('predictions', 1);
      outbox.delivered({ ...row!, head: row!.hash });
    }
    expect(full).toBeGreaterThan(600 * KIB);
    expect(sizeOf('')).toBeLessThan(full / 4);
    expect(sizeOf('-wal')).toBeLessThan(64 * KIB);
    outbox.close();
  });
});

describe('what waits in memory', () => {
  it('is bounded in records and in bytes; the oldest of the longest stream is refused and counted', () => {
    for (let seed = 1; seed <= 40; seed++) {
      const dice = seeded(seed);
      const held = new Held({ records: 50, bytes: 8000 });
      let [added, leftOut, told, dropped] = [0, 0, 0, 0];
      for (let step = 0; step < 300; step++) {
        const stream = dice() < 0.7 ? 'predictions' : 'health';
        if (dice() < 0.3) {
          held.leaveOut(stream);
          leftOut++;
        } else if (dice() < 0.9) {
          held.add(stream, step, 'x'.repeat(below(dice, 400)), false);
          added++;
        } else {
          const some = held.oldest(stream, 1 + below(dice, 9), 4000);
          told += some.reduce((sum, record) => sum + record.leftOut, 0);
          held.drop(stream, some.length);
          dropped += some.length;
        }
        expect(held.size <= 50 && held.bytes <= 8000 && held.bytes >= 0, `seed ${seed}`).toBe(true);
      }
      const refused = held.refused('predictions') + held.refused('health');
      expect(held.size + refused + dropped, `seed ${seed}`).toBe(added);
      const left = (['predictions', 'health'] as const).map((s) =>
        held.oldest(s, 1000, 1e9).reduce((sum, record) => sum + record.leftOut, held.leftOut(s)),
      );
      expect(told + left[0]! + left[1]!, `seed ${seed}: nothing observed is forgotten`).toBe(leftOut);
    }
  });
});
