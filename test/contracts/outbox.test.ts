import { randomBytes } from 'node:crypto';
import { copyFileSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { rowCipher } from '../../agent/src/at-rest/node-row-cipher.ts';
import type { Outbox } from '../../agent/src/outbox/port.ts';
import type { RowCipher } from '../../agent/src/outbox/row-cipher.ts';
import { openSqliteOutbox } from '../../agent/src/outbox/sqlite-outbox.ts';
import { seeded } from '../protocol/batch/random.ts';
import { DEVICE_SIGNER, describeOutbox, type OutboxHarness } from './outbox.contract.ts';

/** @param card where a crash is a kill: what was not written stays behind, and what lies on the disk goes on elsewhere */
function sqliteHarness({ card = false, cipher }: { card?: boolean; cipher?: RowCipher } = {}): OutboxHarness {
  const dir = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'skein-outbox-'));
  const random = seeded(1);
  let now = 1_763_812_345_678;
  const lives: Outbox[] = [];
  let kills = 0;
  const path = () => join(dir, `outbox-${kills}.db`);
  const clock = { now: () => now, mono: () => now, after: () => ({ cancel() {} }) };
  const entropy = { bytes: (n: number) => Uint8Array.from({ length: n }, () => random() * 256) };
  return {
    open({ capBytes, keepMs } = {}) {
      const outbox = openSqliteOutbox({
        path: path(),
        alone: card,
        fleet: 'home',
        device: 'd-1',
        clock,
        entropy,
        signer: DEVICE_SIGNER,
        reserveBytes: 0,
        ...(cipher ? { cipher } : {}),
        ...(capBytes === undefined ? {} : { capBytes: { predictions: capBytes } }),
        ...(keepMs === undefined ? {} : { keepMs }),
      });
      lives.push(outbox);
      return outbox;
    },
    crash() {
      if (!card) return lives.at(-1)?.close();
      const before = path();
      kills++;
      for (const suffix of ['', '-wal', '.mark', '.seen'])
        if (existsSync(before + suffix)) copyFileSync(before + suffix, path() + suffix);
    },
    advance(ms) {
      now += ms;
    },
    dispose() {
      for (const outbox of lives) outbox.close();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

describeOutbox('SQLite', () => sqliteHarness());
describeOutbox('SQLite, on a card and encrypted', () =>
  sqliteHarness({ card: true, cipher: rowCipher(randomBytes(32)) }),
);
