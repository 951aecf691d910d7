/** A process that commits argv[3] (20) groups of 5 records to the outbox at argv[2], failing or not, and says what became of them. */
import type { PredictionRecord } from '@skein/protocol/records.ts';
import { openSqliteOutbox } from '../../../../agent/src/outbox/sqlite-outbox.ts';
import { nativeSigner, systemClock, systemEntropy } from '../../../../agent/src/system-clock.ts';

const record = (i: number): PredictionRecord => ({
  ...{ ts: i, mono: i, boot: 'b', source: 's', model: 'm', version: '1', label: `r${i}`, score: 0 },
  ...{ alarm: 0, latency_us: 1 },
});
const outbox = openSqliteOutbox({
  path: process.argv[2]!,
  fleet: 'home',
  device: 'd-1',
  clock: systemClock,
  entropy: systemEntropy,
  signer: nativeSigner(systemEntropy.bytes(32)),
  reserveBytes: 0,
});
const failures: Record<string, number> = {};
let most = 0;
const groups = Number(process.argv[3] ?? 20);
for (let i = 0; i < 5 * groups; i += 5) {
  for (let k = i; k < i + 5; k++) outbox.append('predictions', record(k));
  try {
    outbox.commit();
  } catch (error) {
    const { code = 'unknown' } = error as { code?: string };
    failures[code] = (failures[code] ?? 0) + 1;
  }
  most = Math.max(most, outbox.ledger()[0]!.waiting);
}
const ledger = outbox.ledger().find(({ stream }) => stream === 'predictions');
outbox.close();
process.stdout.write(JSON.stringify({ failures, most, ledger }));
