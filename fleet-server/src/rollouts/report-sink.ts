/**
 * Update reports out of accepted, device-signed batches: stored once by (device, id), what they prove is installed,
 * and the rollout is stepped, all inside ingest's transaction. Effects follow after its commit.
 */
import type { EventRecord, UpdateReport } from '@skein/protocol/records.ts';
import type { Transaction } from 'kysely';
import type { Tables } from '../store/schema.ts';
import type { RolloutRunner } from './run-rollouts.ts';
import { sqliteRollouts } from './sqlite-rollouts.ts';

type Tx = Transaction<Tables>;

/** As `ingest/port.ts` asks for it. */
export interface ReportSink {
  stream: 'events';
  accept(tx: Tx, device: string, records: unknown[]): Promise<void>;
  committed(device: string): void;
}

export function reportSink(rollouts: RolloutRunner): ReportSink {
  return {
    stream: 'events',
    async accept(tx, device, records) {
      for (const record of records as EventRecord[]) {
        if (record.kind !== 'update') continue;
        const isNew = await storeReport(tx, device, record.report, record.ts);
        if (isNew) await rollouts.hear(sqliteRollouts(tx), device, record.report);
      }
    },
    committed: () => void rollouts.settle(),
  };
}

/** False when this report was here before. */
async function storeReport(tx: Tx, device: string, report: UpdateReport, at: number): Promise<boolean> {
  const { id, rollout, model, version, outcome } = report;
  const row = { id, device, rollout, model, version, outcome, at, report_json: JSON.stringify(report) };
  const stored = await tx
    .insertInto('update_reports')
    .values(row)
    .onConflict((c) => c.columns(['device', 'id']).doNothing())
    .executeTakeFirst();
  if ((stored.numInsertedOrUpdatedRows ?? 0n) === 0n) return false;
  const runs = (outcome === 'committed' || outcome === 'unproven') && report.loaded !== null;
  if (runs) {
    const installed = { version, sha256: report.loaded!, since: at };
    await tx
      .insertInto('installed')
      .values({ device, model, ...installed })
      .onConflict((c) => c.columns(['device', 'model']).doUpdateSet(installed))
      .execute();
  }
  // A version that was left after it had been proven: withdrawn, or it would not start any more.
  if (outcome === 'reverted') {
    await tx
      .deleteFrom('installed')
      .where('device', '=', device)
      .where('model', '=', model)
      .where('version', '=', version)
      .execute();
  }
  return true;
}
