/** What the start of a device waits for whose buffer is large: weeks offline. Beside it what a look through all of it takes. */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { openSqliteOutbox } from '../../../agent/src/outbox/sqlite-outbox.ts';
import { nativeSigner, systemClock, systemEntropy } from '../../../agent/src/system-clock.ts';
import { KIB, MIB } from '../../../protocol/src/units.ts';
import { predictionAt } from '../../load/made-batches.ts';
import { median } from '../../timing.ts';

export const BUFFER_MIB = 128;
const BATCH = 20 * KIB;
const ROUNDS = 5;

const timed = (task: () => void): number => {
  const started = performance.now();
  task();
  return performance.now() - started;
};

/** Medians, in ms. */
export function measureOpening(dir: string): { used: number; lookedThrough: number } {
  const path = join(dir, 'large.db');
  const open = () =>
    openSqliteOutbox({
      ...{ path, fleet: 'home', device: 'd-bench', reserveBytes: 0 },
      ...{ clock: systemClock, entropy: systemEntropy, signer: nativeSigner(systemEntropy.bytes(32)) },
      capBytes: { predictions: 2 * BUFFER_MIB * MIB },
    });
  const filled = open();
  for (let i = 0; i < (BUFFER_MIB * MIB) / BATCH; i++) {
    // What cannot be compressed takes its room with fewer records.
    filled.append('predictions', { ...predictionAt(i), label: randomBytes(BATCH).toString('base64') });
    filled.commit();
    filled.seal('predictions');
  }
  filled.close();
  const used: number[] = [];
  const lookedThrough: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    used.push(
      timed(() => {
        const opened = open();
        opened.append('predictions', predictionAt(round));
        opened.commit();
        opened.ledger();
        opened.askAgain('predictions');
        opened.close();
      }),
    );
    const database = new Database(path, { readonly: true });
    lookedThrough.push(timed(() => database.pragma('quick_check(1)')));
    database.close();
  }
  return { used: median(used), lookedThrough: median(lookedThrough) };
}
