/**
 * The first promise with everything real: the daemons as they are installed, the server's broker and then Mosquitto die
 * by SIGKILL at random moments, stand still and are cut off, and an auditor outside closes the ledger number by number.
 * Replay: SKEIN_SEED=<printed seed>. More: SKEIN_LONG=1 (1,000 kills) or SKEIN_KILLS=<number>; by hand: npm run chaos.
 */
import { copyFileSync, existsSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { describe, expect, it } from 'vitest';
import { auditField, runCampaign } from '../../scripts/chaos/campaign.ts';
import { KINDS, missing } from '../../scripts/chaos/faults/all.ts';
import type { Field } from '../../scripts/chaos/field.ts';
import type { BrokerKind } from '../../scripts/chaos/plan.ts';
import { reportOf } from '../../scripts/chaos/report.ts';
import { findMosquitto } from '../contracts/mosquitto.ts';

const SEED = Number(process.env.SKEIN_SEED ?? Math.floor(Math.random() * 2 ** 31));
const LONG = Boolean(process.env.SKEIN_LONG);
const KILLS = Number(process.env.SKEIN_KILLS ?? (LONG ? 1_000 : 8));

/** What the auditor says of the server's file after `change`. */
function afterChange(field: Field, change: string): string[] {
  const copy = join(field.folder, 'changed.db');
  for (const suffix of ['', '-wal'])
    if (existsSync(field.store + suffix)) copyFileSync(field.store + suffix, copy + suffix);
  const database = new Database(copy);
  database.exec(change);
  database.close();
  return auditField(field, copy).flatMap(({ findings }) => findings);
}

const ONE = "SELECT rowid FROM batches WHERE stream = 'predictions' LIMIT 1";
const COLUMNS = 'device, stream, epoch, seq, n, first_ts, last_ts, received_at, bytes';
const TWICE = `INSERT INTO batches (${COLUMNS}) SELECT device, stream, epoch, seq + 1000000, n, first_ts, last_ts, received_at, bytes
  FROM batches WHERE rowid = (${ONE})`;

describe(`chaos (seed ${SEED})`, () => {
  it(
    `loses and duplicates nothing in ${KILLS} kills, and the auditor would see it`,
    async () => {
      const brokers: BrokerKind[] = findMosquitto() ? ['embedded', 'mosquitto'] : ['embedded'];
      const said: string[] = [];
      const mutants = { removed: [] as string[], doubled: [] as string[] };
      const result = await runCampaign({
        ...{ seed: SEED, minutes: KILLS, kills: KILLS, devices: LONG ? 3 : 1, brokers, keep: false },
        kinds: LONG ? KINDS.filter((kind) => !missing().has(kind)) : ['kill', 'pause', 'partition'],
        say: (line) => void said.push(line),
        inspect: (field) => {
          mutants.removed = afterChange(field, `DELETE FROM batches WHERE rowid = (${ONE})`);
          mutants.doubled = afterChange(field, TWICE);
        },
      }).catch((error: Error) => {
        throw new Error(`SKEIN_SEED=${SEED} SKEIN_KILLS=${KILLS}\n${said.join('\n')}\n${error.message}`);
      });
      console.info(reportOf(result));
      const findings = result.accounts.flatMap((account) => account.findings);
      expect(findings, `SKEIN_SEED=${SEED} SKEIN_KILLS=${KILLS}\n${said.join('\n')}`).toEqual([]);
      expect(result.holds).toBe(true);
      const predictions = result.accounts.filter(({ stream }) => stream === 'predictions');
      for (const { accepted } of predictions)
        expect(accepted, 'there was something to lose').toBeGreaterThan(KILLS);
      expect(mutants.removed.join('\n')).toMatch(/is lost and nobody says so/);
      expect(mutants.doubled.join('\n')).toMatch(/is stored twice/);
    },
    120_000 + KILLS * 60_000,
  );
});
