/** What the store knows about devices, read in a handful of queries however many devices are asked for. */
import type { HelloMessage, StateMessage } from '@skein/protocol/messages.ts';
import type { Store } from '../store/sqlite-store.ts';

export type DriftVerdict = 'calm' | 'drift' | 'not-enough-data' | 'unknown';

export interface StoredDevice {
  id: string;
  name: string;
  groups: string[];
  revoked: boolean;
  enrolledAt: number;
  certificateExpiresAt: number;
  lastSeen: number | null;
  hello: HelloMessage | null;
  state: StateMessage | null;
  /** Prediction records stored. */
  predictions: number;
  /** Incidents that have not ended. */
  warnings: number;
  drift: DriftVerdict;
  /** `name@version` last proven by a signed report. */
  installed: string | null;
}

/** All devices, or those of `ids`. */
export async function readDevices(store: Store, ids?: readonly string[]): Promise<StoredDevice[]> {
  const only = ids === undefined ? undefined : [...ids];
  const devices = await store
    .selectFrom('devices')
    .selectAll()
    .$if(only !== undefined, (q) => q.where('id', 'in', only!))
    .orderBy('id')
    .execute();
  const presence = byDevice(
    await store
      .selectFrom('presence')
      .selectAll()
      .$if(only !== undefined, (q) => q.where('device', 'in', only!))
      .execute(),
  );
  const [stored, open, verdicts, installed] = [
    await readStored(store, only),
    await readOpenIncidents(store, only),
    await readVerdicts(store, only),
    await readInstalled(store, only),
  ];
  return devices.map((row) => {
    const seen = presence.get(row.id);
    return {
      id: row.id,
      name: row.name,
      groups: JSON.parse(row.groups_json) as string[],
      revoked: row.revoked_at !== null,
      enrolledAt: row.enrolled_at,
      certificateExpiresAt: row.cert_not_after,
      lastSeen: seen?.last_seen ?? null,
      hello: seen?.hello_json ? (JSON.parse(seen.hello_json) as HelloMessage) : null,
      state: seen?.state_json ? (JSON.parse(seen.state_json) as StateMessage) : null,
      predictions: stored.get(row.id)?.n ?? 0,
      warnings: open.get(row.id)?.n ?? 0,
      drift: (verdicts.get(row.id)?.verdict ?? 'unknown') as DriftVerdict,
      installed: installed.get(row.id)?.model ?? null,
    };
  });
}

type Only = string[] | undefined;

const byDevice = <T extends { device: string }>(rows: readonly T[]) =>
  new Map(rows.map((r) => [r.device, r]));

const readStored = async (store: Store, only: Only) =>
  byDevice(
    await store
      .selectFrom('streams')
      .select(({ fn }) => ['device', fn.sum<number>('stored').as('n')])
      .where('stream', '=', 'predictions')
      .$if(only !== undefined, (q) => q.where('device', 'in', only!))
      .groupBy('device')
      .execute(),
  );

const readOpenIncidents = async (store: Store, only: Only) =>
  byDevice(
    await store
      .selectFrom('incidents')
      .select(({ fn }) => ['device', fn.countAll<number>().as('n')])
      .where('end_time', 'is', null)
      .$if(only !== undefined, (q) => q.where('device', 'in', only!))
      .groupBy('device')
      .execute(),
  );

/** The verdict of each device's newest window (index drift_by_device). */
const readVerdicts = async (store: Store, only: Only) =>
  byDevice(
    await store
      .selectFrom('devices as d')
      .select(({ selectFrom }) => [
        'd.id as device',
        selectFrom('drift_windows as w')
          .select('w.verdict')
          .whereRef('w.device', '=', 'd.id')
          .orderBy('w.ts', 'desc')
          .limit(1)
          .as('verdict'),
      ])
      .$if(only !== undefined, (q) => q.where('d.id', 'in', only!))
      .execute(),
  );

const readInstalled = async (store: Store, only: Only) =>
  byDevice(
    (
      await store
        .selectFrom('installed')
        .selectAll()
        .$if(only !== undefined, (q) => q.where('device', 'in', only!))
        .orderBy('since')
        .execute()
    ).map((row) => ({ device: row.device, model: `${row.model}@${row.version}` })),
  );
