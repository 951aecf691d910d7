/** What devices did that they should not: counted for good, and an incident while it lasts. */
import type { Millis } from '@skein/protocol/units.ts';
import { WARNINGS } from '@skein/protocol/warnings.ts';
import type { Kysely } from 'kysely';
import { FAULTS, type Fault, type FaultKind } from '../ingest/faults.ts';
import type { Tables } from './schema.ts';

type Db = Kysely<Tables>;

const incidentOf = (kind: FaultKind): string => `ingest-${kind}`;
const hasIncident = (kind: FaultKind): boolean => Number.isFinite(FAULTS[kind].quietMs);

/** Report keys of devices that are enrolled and not revoked. */
export async function readReportKeys(db: Db, devices: readonly string[]): Promise<Map<string, Uint8Array>> {
  const rows = await db
    .selectFrom('devices')
    .select(['id', 'report_key'])
    .where('id', 'in', devices)
    .where('revoked_at', 'is', null)
    .execute();
  return new Map(rows.map((row) => [row.id, new Uint8Array(Buffer.from(row.report_key, 'hex'))]));
}

/** In one transaction: the counts grow, and an incident opens (again) or goes on. */
export async function writeFaults(db: Db, faults: readonly Fault[]): Promise<void> {
  await db.transaction().execute(async (tx) => {
    for (const fault of faults) {
      await addFault(tx, fault);
      if (hasIncident(fault.kind)) await openIncident(tx, fault);
    }
  });
}

async function addFault(db: Db, { device, kind, count, firstAt, lastAt, detail }: Fault): Promise<void> {
  await db
    .insertInto('faults')
    .values({ device, kind, count, first_at: firstAt, last_at: lastAt, detail })
    .onConflict((c) =>
      c.columns(['device', 'kind']).doUpdateSet((eb) => ({
        count: eb('faults.count', '+', count),
        last_at: lastAt,
        detail,
      })),
    )
    .execute();
}

async function openIncident(db: Db, { device, kind, firstAt, detail }: Fault): Promise<void> {
  const { code } = FAULTS[kind];
  const source = 'ingest';
  const made = {
    code,
    severity: WARNINGS[code].severity,
    start_time: firstAt,
    end_time: null,
    source,
    detail,
  };
  await db
    .insertInto('incidents')
    .values({ id: incidentOf(kind), device, ...made })
    .onConflict((c) =>
      c.columns(['device', 'id']).doUpdateSet((eb) => ({
        detail,
        // One that is over begins anew; one that goes on keeps its beginning.
        start_time: eb
          .case()
          .when('incidents.end_time', 'is', null)
          .then(eb.ref('incidents.start_time'))
          .else(firstAt)
          .end(),
        end_time: null,
      })),
    )
    .execute();
}

/** Ends the incidents of faults that have been quiet for long enough; the devices they were of. */
export async function endQuietFaults(db: Db, now: Millis): Promise<string[]> {
  const ended: string[] = [];
  for (const kind of Object.keys(FAULTS).filter((k) => hasIncident(k as FaultKind)) as FaultKind[]) {
    const quiet = db
      .selectFrom('faults')
      .select('device')
      .where('kind', '=', kind)
      .where('last_at', '<', now - FAULTS[kind].quietMs);
    const rows = await db
      .updateTable('incidents')
      .set({ end_time: now })
      .where('id', '=', incidentOf(kind))
      .where('end_time', 'is', null)
      .where('device', 'in', quiet)
      .returning('device')
      .execute();
    ended.push(...rows.map((row) => row.device));
  }
  return ended;
}
