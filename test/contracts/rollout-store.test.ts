/** One suite for every adapter of the RolloutStore port. */

import type { RolloutStore } from '@skein/fleet-server/rollouts/port.ts';
import type { RolloutEffect } from '@skein/fleet-server/rollouts/rollout.ts';
import { sqliteRollouts } from '@skein/fleet-server/rollouts/sqlite-rollouts.ts';
import { openSqliteStore } from '@skein/fleet-server/store/sqlite-store.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { newRollout, START } from '../fleet-server/rollouts/example.ts';
import { MemoryRollouts } from '../sim/rollout-store.ts';

const adapters: Record<string, () => Promise<{ store: RolloutStore; close(): Promise<void> }>> = {
  async sqlite() {
    const db = await openSqliteStore(':memory:');
    return { store: sqliteRollouts(db), close: () => db.destroy() };
  },
  simulated: async () => ({ store: new MemoryRollouts(), close: async () => {} }),
};

describe.each(Object.keys(adapters))('rollout store on %s', (name) => {
  let store: RolloutStore;
  let close: () => Promise<void>;
  beforeEach(async () => {
    ({ store, close } = await adapters[name]!());
  });
  afterEach(() => close());

  const { state, effects } = newRollout();

  it('keeps a rollout with its first effects', async () => {
    expect(await store.save(state, null, effects)).toBe(true);
    expect(await store.load(state.id)).toEqual({ rollout: state, revision: 0 });
    expect((await store.openEffects(100)).map((e) => e.effect)).toEqual(effects);
    expect(await store.load('r-unknown')).toBeUndefined();
  });

  it('refuses who read an older revision, and writes none of its effects', async () => {
    await store.save(state, null, []);
    expect(await store.save({ ...state, state: 'paused' }, 0, [])).toBe(true);
    expect(await store.save({ ...state, state: 'aborted' }, 0, effects)).toBe(false);
    expect((await store.load(state.id))?.rollout.state).toBe('paused');
    expect((await store.load(state.id))?.revision).toBe(1);
    expect(await store.openEffects(10)).toEqual([]);
  });

  it('hands out open effects in the order they were made, at most as many as asked for', async () => {
    const numbered = (n: number): RolloutEffect => ({ ...effects[0]!, device: `d-${n}` });
    await store.save(state, null, [numbered(0), numbered(1)]);
    for (let revision = 0; revision < 12; revision++)
      await store.save(state, revision, [numbered(revision + 2)]);
    const open = await store.openEffects(100);
    expect(open.map((e) => e.effect.device)).toEqual(Array.from({ length: 14 }, (_, n) => `d-${n}`));
    expect(await store.openEffects(3)).toEqual(open.slice(0, 3));
    await store.effectDone(open[0]!.id, START);
    expect((await store.openEffects(1))[0]!.effect.device).toBe('d-1');
  });

  it('knows what is due and when the next row will be', async () => {
    expect(await store.nextDueAt()).toBeNull();
    await store.save(state, null, []);
    const at = (await store.nextDueAt())!;
    expect(at).toBe(state.stageDeadlineAt);
    expect(await store.due(at - 1)).toEqual([]);
    expect(await store.due(at)).toEqual([state.id]);
    await store.save({ ...state, state: 'paused' }, 0, []);
    expect(await store.due(at)).toEqual([]);
  });

  it('lists the newest first', async () => {
    await store.save(state, null, []);
    await store.save({ ...state, id: 'r-later', createdAt: state.createdAt + 1 }, null, []);
    expect((await store.list(10)).map((row) => row.rollout.id)).toEqual(['r-later', state.id]);
    expect(await store.list(1)).toHaveLength(1);
  });
});
