import { randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { rowCipher } from '../../agent/src/at-rest/node-row-cipher.ts';
import type { Outbox } from '../../agent/src/outbox/port.ts';
import type { RowCipher } from '../../agent/src/outbox/row-cipher.ts';
import { openSqliteOutbox } from '../../agent/src/outbox/sqlite-outbox.ts';
import { seeded } from '../protocol/batch/random.ts';
import { DEVICE_SIGNER, describeOutbox, type OutboxHarness } from './outbox.contract.ts';

function sqliteHarness(cipher?: RowCipher): OutboxHarness {
  const dir = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'skein-outbox-'));
  const random = seeded(1);
  let now = 1_763_812_345_678;
  let current: Outbox | undefined;
  const clock = { now: () => now, mono: () => now, after: () => ({ cancel() {} }) };
  const entropy = { bytes: (n: number) => Uint8Array.from({ length: n }, () => random() * 256) };
  return {
    open({ capBytes, keepMs } = {}) {
      current = openSqliteOutbox({
        path: join(dir, 'outbox.db'),
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
      return current;
    },
    crash: () => current?.close(),
    advance(ms) {
      now += ms;
    },
    dispose() {
      current?.close();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

describeOutbox('SQLite', sqliteHarness);
describeOutbox('SQLite, encrypted', () => sqliteHarness(rowCipher(randomBytes(32))));
