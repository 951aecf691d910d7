/** A database in which a device is everywhere that it can be. */
import { FATES } from '@skein/fleet-server/erasure/fates.ts';
import type { Rollout, Target } from '@skein/fleet-server/rollouts/rollout.ts';
import { sqliteRollouts } from '@skein/fleet-server/rollouts/sqlite-rollouts.ts';
import type { Tables } from '@skein/fleet-server/store/schema.ts';
import type { Store } from '@skein/fleet-server/store/sqlite-store.ts';
import { sql } from 'kysely';
import { SPEC } from '../rollouts/example.ts';

export interface Named {
  id: string;
  name: string;
}

export const tablesOf = async (store: Store): Promise<string[]> => {
  const found = await sql<{ name: string }>`
    SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'`.execute(store);
  return found.rows.map(({ name }) => name).filter((name) => name !== 'migrations');
};

const columnsOf = async (store: Store, table: string) =>
  (
    await sql<{ name: string; type: string }>`SELECT name, type FROM pragma_table_info(${table})`.execute(
      store,
    )
  ).rows;

/** `rows` of every table that has a device, each column naming it where it can. */
export async function fill(store: Store, device: Named, rows = 3): Promise<void> {
  for (const [table, { fate }] of Object.entries(FATES)) {
    if (fate !== 'rows') continue;
    const columns = await columnsOf(store, table);
    for (let i = 0; i < rows; i++) {
      const values = columns.map(({ name, type }) => {
        if (name === 'device') return device.id;
        if (name === 'stream') return 'events';
        if (name === 'resolution') return 'hour';
        if (type === 'BLOB') return Buffer.from(`blob ${i} of ${device.id} ${device.name}`.padEnd(9000, '.'));
        return type === 'TEXT' ? `${name} ${i} of ${device.id} ${device.name}` : i;
      });
      await sql`INSERT OR REPLACE INTO ${sql.table(table)} (${sql.join(columns.map((c) => sql.ref(c.name)))})
        VALUES (${sql.join(values)})`.execute(store);
    }
  }
  await fillShared(store, device);
}

let made = 0;

/** Where it stands beside others. */
async function fillShared(store: Store, { id }: Named): Promise<void> {
  made++;
  const effects = ['d-other', id].map((device) => {
    return { type: 'order', model: 'host', order: null, onlyOver: null, device } as const;
  });
  await sqliteRollouts(store).save(rolloutOf(`r-${made}`, [id, 'd-other']), null, effects);
  await store.updateTable('effects').set({ done_at: 1 }).execute();
  const answer = {
    key: `key ${made}`,
    route: 'createRollout',
    request_hash: 'x',
    status: 200,
    created_at: 1,
  };
  const body = JSON.stringify({ targets: [{ device: id }, { device: 'd-other' }] });
  await store
    .insertInto('idempotency')
    .values({ ...answer, body })
    .execute();
}

export function rolloutOf(id: string, devices: readonly string[]): Rollout {
  const target = (device: string): Target => ({
    ...{ device, stage: 0, control: false, state: 'failed', reason: `it said ${device}`, updatedAt: 1 },
    ...{ order: `${id}.1`, undo: null, previous: { version: '1.0.0', order: null }, sample: null },
  });
  return {
    ...{ id, spec: SPEC, state: 'halted', stage: 0, createdAt: 1, updatedAt: 1, stageStartedAt: 1 },
    ...{ stageDeadlineAt: 1, pausedAt: null, hold: null, stop: 'harm', variants: [] },
    targets: devices.map(target),
  };
}

/** Every place of the database that holds a text, as `table.column`. */
export async function placesOf(store: Store, text: string): Promise<string[]> {
  const places: string[] = [];
  for (const table of await tablesOf(store)) {
    for (const { name } of await columnsOf(store, table)) {
      const found = await sql<{ n: number }>`SELECT count(*) AS n FROM ${sql.table(table)}
        WHERE instr(CAST(${sql.ref(name)} AS BLOB), CAST(${text} AS BLOB)) > 0`.execute(store);
      if (found.rows[0]!.n > 0) places.push(`${table}.${name}`);
    }
  }
  return places;
}

export const countOf = async (store: Store, table: keyof Tables): Promise<number> =>
  (await sql<{ n: number }>`SELECT count(*) AS n FROM ${sql.table(table)}`.execute(store)).rows[0]!.n;
