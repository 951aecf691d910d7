/** Rollouts and their effects in the store's tables; on the store itself or inside somebody's transaction. */
import { SkeinError } from '@skein/protocol/errors.ts';
import { parseManifest } from '@skein/protocol/manifest.ts';
import type { Order } from '@skein/protocol/orders.ts';
import type { Sha256Hex } from '@skein/protocol/units.ts';
import type { Kysely } from 'kysely';
import type { Tables } from '../store/schema.ts';
import type { Candidate } from './machine.ts';
import type { RolloutRow, RolloutStore } from './port.ts';
import { dueAt, type Rollout, type RolloutEffect } from './rollout.ts';

type Db = Kysely<Tables>;

export function sqliteRollouts(db: Db): RolloutStore {
  return {
    async load(id) {
      const row = await db.selectFrom('rollouts').selectAll().where('id', '=', id).executeTakeFirst();
      return row && rowOf(row);
    },
    async list(limit) {
      const rows = await db
        .selectFrom('rollouts')
        .selectAll()
        .orderBy('created_at', 'desc')
        .orderBy('id')
        .limit(limit)
        .execute();
      return rows.map(rowOf);
    },
    async due(now) {
      const rows = await db.selectFrom('rollouts').select('id').where('due_at', '<=', now).execute();
      return rows.map((r) => r.id);
    },
    async nextDueAt() {
      const row = await db
        .selectFrom('rollouts')
        .select((q) => q.fn.min('due_at').as('at'))
        .executeTakeFirst();
      return row?.at ?? null;
    },
    save: (rollout, expected, effects) => atomically(db, (tx) => save(tx, rollout, expected, effects)),
    async openEffects(limit) {
      const rows = await db
        .selectFrom('effects')
        .selectAll()
        .where('done_at', 'is', null)
        .orderBy('created_at')
        .orderBy('id')
        .limit(limit)
        .execute();
      return rows.map((r) => ({
        id: r.id,
        rollout: r.rollout,
        effect: JSON.parse(r.body_json) as RolloutEffect,
      }));
    },
    async effectDone(id, at) {
      await db.updateTable('effects').set({ done_at: at }).where('id', '=', id).execute();
    },
  };
}

const rowOf = (row: { doc_json: string; revision: number }): RolloutRow => ({
  rollout: JSON.parse(row.doc_json) as Rollout,
  revision: row.revision,
});

const atomically = <T>(db: Db, work: (tx: Db) => Promise<T>): Promise<T> =>
  db.isTransaction ? work(db) : db.transaction().execute(work);

async function save(
  tx: Db,
  rollout: Rollout,
  expected: number | null,
  effects: readonly RolloutEffect[],
): Promise<boolean> {
  const revision = (expected ?? -1) + 1;
  const row = {
    state: rollout.state,
    revision,
    doc_json: JSON.stringify(rollout),
    updated_at: rollout.updatedAt,
    due_at: dueAt(rollout),
  };
  if (expected === null) {
    await tx
      .insertInto('rollouts')
      .values({ ...row, id: rollout.id, created_at: rollout.createdAt })
      .execute();
  } else {
    const changed = await tx
      .updateTable('rollouts')
      .set(row)
      .where('id', '=', rollout.id)
      .where('revision', '=', expected)
      .executeTakeFirst();
    if (changed.numUpdatedRows === 0n) return false;
  }
  const digits = (n: number) => String(n).padStart(7, '0');
  for (const [n, effect] of effects.entries()) {
    const id = `${rollout.id}:${digits(revision)}:${digits(n)}`;
    const body = { id, rollout: rollout.id, kind: effect.type, body_json: JSON.stringify(effect) };
    await tx
      .insertInto('effects')
      .values({ ...body, created_at: rollout.updatedAt, done_at: null })
      .execute();
  }
  return true;
}

/** Hashes that a device may prove to have loaded. @throws SkeinError NOT_FOUND, ROLLOUT_INVALID for a revoked version */
export async function variantsOf(db: Db, name: string, version: string): Promise<Sha256Hex[]> {
  const row = await db
    .selectFrom('models')
    .select(['manifest_json', 'revoked_at'])
    .where('name', '=', name)
    .where('version', '=', version)
    .executeTakeFirst();
  if (!row) {
    throw new SkeinError('NOT_FOUND', `model ${name}@${version} is not published`, {
      fix: 'See `skein models list`; publish it with `skein models publish`.',
    });
  }
  if (row.revoked_at !== null) {
    throw new SkeinError('ROLLOUT_INVALID', `model ${name}@${version} is revoked`, {
      fix: 'Publish a corrected version.',
    });
  }
  const manifest = parseManifest.check(JSON.parse(row.manifest_json), `${name}@${version}`);
  return manifest.variants.map((v) => v.file.sha256);
}

/** The devices of a group (`all`: every one) that are not revoked, with what they run and were ordered for `model`. */
export async function candidatesOf(db: Db, group: string, model: string): Promise<Candidate[]> {
  const devices = await db
    .selectFrom('devices')
    .select(['id', 'groups_json'])
    .where('revoked_at', 'is', null)
    .execute();
  const installed = await db.selectFrom('installed').selectAll().where('model', '=', model).execute();
  const orders = await db.selectFrom('orders').selectAll().where('model', '=', model).execute();
  const versions = new Map(installed.map((row) => [row.device, row.version]));
  const standing = new Map(orders.map((row) => [row.device, JSON.parse(row.order_json) as Order]));
  return devices
    .filter((d) => group === 'all' || (JSON.parse(d.groups_json) as string[]).includes(group))
    .map((d) => ({
      device: d.id,
      previous: { version: versions.get(d.id) ?? null, order: standing.get(d.id) ?? null },
    }));
}
