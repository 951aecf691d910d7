import type { BatchHeader } from '@skein/protocol/batch/header.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readFaults } from '../../../fleet-server/src/fleet/device-view.ts';
import { createFaults, createHoleWatch } from '../../../fleet-server/src/ingest/faults.ts';
import { endQuietFaults, writeFaults } from '../../../fleet-server/src/store/sqlite-faults.ts';
import { openSqliteStore, type Store } from '../../../fleet-server/src/store/sqlite-store.ts';

const MINUTE = 60_000;
let store: Store;
beforeEach(async () => {
  store = await openSqliteStore(':memory:');
});
afterEach(() => store.destroy());

const incidents = () => store.selectFrom('incidents').selectAll().execute();

describe('faults of devices', () => {
  it('are summed up by device and kind until they are written down', () => {
    const faults = createFaults();
    faults.note('a', 'forged', 1, 'first');
    faults.note('a', 'forged', 5, 'last');
    faults.note('b', 'flood', 2, 'much');
    expect(faults.collect()).toEqual([
      { device: 'a', kind: 'forged', count: 2, firstAt: 1, lastAt: 5, detail: 'last' },
      { device: 'b', kind: 'flood', count: 1, firstAt: 2, lastAt: 2, detail: 'much' },
    ]);
    expect(faults.collect()).toEqual([]);
  });

  it('are forgotten with their device', () => {
    const [faults, holes] = [createFaults(), createHoleWatch()];
    faults.note('a', 'forged', 1, 'first');
    faults.note('ab', 'flood', 2, 'much');
    faults.forget('a');
    expect(faults.collect()).toMatchObject([{ device: 'ab' }]);
    const header = { stream: 'health', seq: 9, gaps: [] } as unknown as BatchHeader;
    for (let i = 0; i < 7; i++) holes.hole('a/health/e', header, 1, i * MINUTE);
    holes.forget('a');
    expect(holes.hole('a/health/e', header, 1, 9 * MINUTE)).toBeUndefined();
  });

  it('count on for good, and are an incident until they have been quiet', async () => {
    const fault = { device: 'a', kind: 'flood', count: 3, firstAt: 10, lastAt: 20, detail: 'much' } as const;
    await writeFaults(store, [fault]);
    await writeFaults(store, [{ ...fault, count: 2, firstAt: 30, lastAt: 40, detail: 'more' }]);
    const [counted] = await readFaults(store, 'a');
    expect(counted).toEqual({ kind: 'flood', count: 5, firstAt: 10, lastAt: 40, detail: 'more' });
    expect(await incidents()).toMatchObject([
      { device: 'a', code: 'DEVICE_FLOODING', start_time: 10, end_time: null, detail: 'more' },
    ]);
    expect(await endQuietFaults(store, 40 + MINUTE)).toEqual([]);
    expect(await endQuietFaults(store, 41 + MINUTE)).toEqual(['a']);
    expect(await incidents()).toMatchObject([{ end_time: 41 + MINUTE }]);
    await writeFaults(store, [{ ...fault, count: 1, firstAt: 9 * MINUTE, lastAt: 9 * MINUTE }]);
    expect(await incidents()).toMatchObject([{ start_time: 9 * MINUTE, end_time: null }]);
  });

  it('leave a fork’s incident to who tells of it', async () => {
    await writeFaults(store, [{ device: 'a', kind: 'fork', count: 1, firstAt: 1, lastAt: 1, detail: 'x' }]);
    expect(await incidents()).toEqual([]);
    expect(await readFaults(store, 'a')).toMatchObject([{ kind: 'fork', count: 1 }]);
  });
});

describe('a hole in a stream', () => {
  const later = { stream: 'predictions', seq: 20, n: 5, gaps: [] } as unknown as BatchHeader;

  it('is told once when the device goes on without what is wanted, with the numbers that are missing', () => {
    const watch = createHoleWatch();
    const said = Array.from({ length: 20 }, (_, i) => watch.hole('a/predictions', later, 12, i * 5_000));
    expect(said.filter((each) => each !== undefined)).toEqual([
      'predictions 12–19: never came and not accounted for; the device goes on with 20',
    ]);
    expect(said.findIndex((each) => each !== undefined)).toBe(7);
  });

  it('is nothing while it is filled again, or when all came at once', () => {
    const watch = createHoleWatch();
    for (let i = 0; i < 50; i++) {
      expect(watch.hole('a', later, 12, i * MINUTE)).toBeUndefined();
      if (i % 5 === 0) watch.filled('a');
    }
    for (let i = 0; i < 50; i++) expect(watch.hole('b', later, 12, i)).toBeUndefined();
  });
});
