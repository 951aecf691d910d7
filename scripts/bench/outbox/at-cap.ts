/**
 * What a minute of a device costs whose buffer is full, and gives up the oldest for each that comes: weeks offline. Its
 * ledger is looked at each minute, too.
 */
import { join } from 'node:path';
import type { Outbox } from '../../../agent/src/outbox/port.ts';
import { openSqliteOutbox } from '../../../agent/src/outbox/sqlite-outbox.ts';
import { nativeSigner, systemClock, systemEntropy } from '../../../agent/src/system-clock.ts';
import { MIB } from '../../../protocol/src/units.ts';
import { predictionAt } from '../../load/made-batches.ts';
import { median } from '../../timing.ts';

const CAP = 4 * MIB;
const MINUTES = 300;

/** @returns ms */
function minute(outbox: Outbox, at: number): number {
  const started = performance.now();
  for (let i = 0; i < 60; i++) outbox.append('predictions', predictionAt(60 * at + i));
  outbox.commit();
  outbox.seal('predictions');
  outbox.ledger();
  return performance.now() - started;
}

/** Medians, in ms: of the first minutes, and of those at the cap. */
export function measureCap(dir: string): { empty: number; full: number } {
  const outbox = openSqliteOutbox({
    ...{ path: join(dir, 'cap.db'), fleet: 'home', device: 'd-bench', reserveBytes: 0 },
    ...{ clock: systemClock, entropy: systemEntropy, signer: nativeSigner(systemEntropy.bytes(32)) },
    capBytes: { predictions: CAP },
  });
  let at = 0;
  const some = () => median(Array.from({ length: MINUTES }, () => minute(outbox, at++)));
  const dropped = () => outbox.ledger().find(({ stream }) => stream === 'predictions')!.dropped;
  try {
    const empty = some();
    while (dropped() === 0) for (let i = 0; i < MINUTES; i++) minute(outbox, at++);
    return { empty, full: some() };
  } finally {
    outbox.close();
  }
}
