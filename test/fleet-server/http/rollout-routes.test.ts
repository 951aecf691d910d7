import type { Handlers } from '@skein/fleet-server/http/handlers.ts';
import { rolloutRoutes } from '@skein/fleet-server/http/rollout-routes.ts';
import { RolloutRunner } from '@skein/fleet-server/rollouts/run-rollouts.ts';
import { sqliteRollouts } from '@skein/fleet-server/rollouts/sqlite-rollouts.ts';
import { openSqliteStore, type Store } from '@skein/fleet-server/store/sqlite-store.ts';
import { systemClock } from '@skein/fleet-server/system-clock.ts';
import type { RolloutView } from '@skein/protocol/rollout.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { manifestFor } from '../../agent/update/manifest.ts';
import { GOOD_HASH, SPEC } from '../rollouts/example.ts';

let store: Store;
let rollouts: RolloutRunner;
let routes: Handlers;
let told: [string, string | undefined][];

const ask = async (name: 'createRollout' | 'listRollouts' | 'showRollout' | 'steerRollout', given: object) =>
  (await (routes[name] as (request: object) => Promise<unknown>)(given)) as RolloutView;
const create = (change: object = {}) => ask('createRollout', { body: { ...SPEC, group: 'lab', ...change } });

beforeEach(async () => {
  store = await openSqliteStore(':memory:');
  told = [];
  const desk = {
    set: async (device: string, _: string, order: { id: string } | null) =>
      void told.push([device, order?.id]),
  };
  const log = { info() {}, warn() {}, error() {} };
  rollouts = new RolloutRunner({ store: sqliteRollouts(store), desk, clock: systemClock, log });
  routes = rolloutRoutes({ store, rollouts });
  const file = { sha256: GOOD_HASH, size: 1 };
  const row = {
    name: 'host',
    version: '1.1.0',
    release: 1,
    floor: 0,
    manifest_sha256: GOOD_HASH,
    published_at: 0,
  };
  const manifest = JSON.stringify(manifestFor('1.1.0', file, file));
  await store
    .insertInto('models')
    .values({ ...row, manifest_json: manifest, revoked_at: null })
    .execute();
  const keys = { report_key: '', cert_serial: '', cert_not_after: 0, enrolled_at: 0, revoked_at: null };
  await store
    .insertInto('devices')
    .values({ id: 'd-a', name: 'a', groups_json: '["lab"]', ...keys })
    .execute();
});
afterEach(async () => {
  await rollouts.stop();
  await store.destroy();
});

describe('creating a rollout', () => {
  it('orders the first stage and answers with what was made', async () => {
    const made = await create();
    expect(made).toMatchObject({ state: 'running', spec: { version: '1.1.0' }, counts: { ordered: 1 } });
    expect(made.id).toMatch(/^r-[a-z2-7]{10}$/);
    expect(told).toEqual([['d-a', `${made.id}.1`]]);
    expect(await ask('showRollout', { params: { id: made.id } })).toEqual(made);
    expect(await ask('listRollouts', {})).toEqual({ items: [made], next: null });
  });

  it.each([
    ['a model nobody published', { model: 'other' }, 'NOT_FOUND', 'models list'],
    ['a version nobody published', { version: '9.9.9' }, 'NOT_FOUND', 'models publish'],
    ['a group with no device', { group: 'attic' }, 'ROLLOUT_INVALID', 'devices list'],
  ])('refuses %s and says where to look', async (_, change, code, fix) => {
    await expect(create(change)).rejects.toMatchObject({ code, fix: expect.stringContaining(fix) });
    expect(told).toEqual([]);
  });
});

describe('steering a rollout', () => {
  it('does what was asked', async () => {
    const { id } = await create();
    expect((await ask('steerRollout', { params: { id, action: 'pause' } })).state).toBe('paused');
    expect((await ask('steerRollout', { params: { id, action: 'abort' } })).state).toBe('aborted');
    expect(told.at(-1)).toEqual(['d-a', undefined]);
  });

  it('refuses what it does not know and what does not fit', async () => {
    const { id } = await create();
    await expect(ask('steerRollout', { params: { id, action: 'explode' } })).rejects.toMatchObject({
      code: 'NOT_FOUND',
      fix: 'Use one of pause, resume, abort, approve, rollback.',
    });
    await expect(ask('steerRollout', { params: { id, action: 'approve' } })).rejects.toMatchObject({
      code: 'CONFLICT',
    });
    await expect(ask('showRollout', { params: { id: 'r-none' } })).rejects.toMatchObject({
      code: 'NOT_FOUND',
    });
  });
});
