import { type BatchHeader, NO_HEAD } from '@skein/protocol/batch/header.ts';
import { chainHead, openBatch, sealBatch } from '@skein/protocol/batch/sealed.ts';
import { DAY, HOUR, MINUTE } from '@skein/protocol/units.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { seriesBetween } from '../../../fleet-server/src/http/series.ts';
import { insertBatches } from '../../../fleet-server/src/store/sqlite-batches.ts';
import {
  decodePoints,
  expireStep,
  readPoints,
  rollStep,
} from '../../../fleet-server/src/store/sqlite-rollups.ts';
import { openSqliteStore, type Store } from '../../../fleet-server/src/store/sqlite-store.ts';
import { prediction } from '../../contracts/outbox.contract.ts';
import { testSigner } from '../../protocol/batch/random.ts';

const signer = testSigner('device');
const POLICY = { rawMs: 7 * DAY, minuteMs: 90 * DAY, hourMs: 730 * DAY };
const START = 1_763_812_800_000;
let store: Store;
let seq: number;
let head: string;

beforeEach(async () => {
  store = await openSqliteStore(':memory:');
  seq = 0;
  head = NO_HEAD;
});
afterEach(() => store.destroy());

/** A batch of one record a second from `ts` on, as ingest stores it. */
async function add(ts: number, n: number, receivedAt: number): Promise<void> {
  const records = Array.from({ length: n }, (_, i) => ({
    ...prediction(i),
    ts: ts + i * 1000,
    score: i % 60,
  }));
  const from = {
    v: 1,
    fleet: 'home',
    device: 'd-1',
    stream: 'predictions',
    epoch: '0123456789abcdef',
  } as const;
  const rest = { ordinal: 1, seq, n, prev: head, observed: n, kept: n, gaps: [], bridge: null };
  const bytes = sealBatch({ ...from, ...rest } as BatchHeader, records, signer);
  seq += n;
  head = chainHead(bytes);
  const accepted = { batch: openBatch(bytes), bytes, records, gaps: [], receivedAt };
  await insertBatches(store, [{ ...accepted, next: { nextSeq: seq, head } }]);
}
const all = async (step: typeof rollStep, now: number): Promise<number> => {
  let sum = 0;
  for (let done = await step(store, POLICY, now); done > 0; done = await step(store, POLICY, now))
    sum += done;
  return sum;
};
const points = (resolution: 'minute' | 'hour') =>
  readPoints(
    store,
    { device: 'd-1', stream: 'predictions', resolution, fromMs: 0, toMs: 1e14, limit: 5000 },
    POLICY,
  );
const counted = async (resolution: 'minute' | 'hour') =>
  (await points(resolution)).reduce((sum, { n }) => sum + n.score!, 0);
const batches = () => store.selectFrom('batches').select(['seq', 'rolled']).execute();

describe('retention', () => {
  it('sums up what came an hour ago, each record once, whatever is asked in between', async () => {
    for (let i = 0; i < 150; i++) await add(START + i * MINUTE, 60, START + (i + 1) * MINUTE);
    const now = START + 151 * MINUTE;
    expect(await counted('minute')).toBe(9000);
    expect(await rollStep(store, POLICY, now)).toBe(64);
    expect(await counted('minute')).toBe(9000);
    expect(await all(rollStep, now)).toBeGreaterThan(20);
    expect(await counted('minute')).toBe(9000);
    expect(await counted('hour')).toBe(9000);
    const [first] = await points('minute');
    expect(first).toMatchObject({ ts: START, n: { score: 60 }, sum: { score: 1770 }, max: { score: 59 } });
    expect(await points('hour')).toHaveLength(3);
  });

  it('adds what comes late to what was summed up', async () => {
    await add(START, 60, START + MINUTE);
    await all(rollStep, START + 2 * HOUR);
    await add(START, 60, START + 5 * DAY);
    await all(rollStep, START + 6 * DAY);
    expect((await points('minute')).map(({ n }) => n.score)).toEqual([120]);
    expect(await store.selectFrom('rollups').select('chunk').execute()).toHaveLength(2);
  });

  it('changes nothing when a step is cut short before its commit', async () => {
    await add(START, 60, START);
    // The mark is the last write of a step: it fails, and all before it is undone.
    await store.schema.alterTable('batches').renameColumn('epoch', 'epoch_away').execute();
    await expect(rollStep(store, POLICY, START + DAY)).rejects.toThrow();
    await store.schema.alterTable('batches').renameColumn('epoch_away', 'epoch').execute();
    expect(await store.selectFrom('rollups').selectAll().execute()).toEqual([]);
    expect(await batches()).toMatchObject([{ rolled: 0 }]);
    await all(rollStep, START + DAY);
    expect(await counted('minute')).toBe(60);
  });

  it('removes raw batches by age, but none that is not summed up, and counts what is left of them', async () => {
    await add(START, 60, START);
    await add(START + MINUTE, 60, START + 2 * DAY);
    expect(await all(expireStep, START + 30 * DAY)).toBe(0);
    await all(rollStep, START + 30 * DAY);
    expect(await expireStep(store, POLICY, START + 8 * DAY)).toBe(1);
    expect(await batches()).toMatchObject([{ seq: 60, rolled: 1 }]);
    const [stream] = await store.selectFrom('streams').select(['stored', 'expired', 'next_seq']).execute();
    expect(stream).toEqual({ stored: 120, expired: 60, next_seq: 120 });
    expect(await counted('minute')).toBe(120);
  });

  it('goes from minutes to hours to nothing', async () => {
    await add(START, 60, START);
    await all(rollStep, START + DAY);
    await all(expireStep, START + 95 * DAY);
    expect(await points('minute')).toEqual([]);
    expect(await counted('hour')).toBe(60);
    await all(expireStep, START + 740 * DAY);
    expect(await points('hour')).toEqual([]);
  });

  it('keeps drift and events as long as hours, and does not sum them up', async () => {
    await add(START, 5, START);
    await store.updateTable('batches').set({ stream: 'events' }).execute();
    await all(rollStep, START + DAY);
    expect(await store.selectFrom('rollups').selectAll().execute()).toEqual([]);
    await all(expireStep, START + 400 * DAY);
    expect(await batches()).toHaveLength(1);
    await all(expireStep, START + 731 * DAY);
    expect(await batches()).toHaveLength(0);
  });

  it('removes drift windows by when they came, as the batches they came in', async () => {
    const window = { boot: 'b', model: 'm', version: '1', profile: '0', verdict: 'calm', record_json: '{}' };
    const came = [START, START + 2 * DAY, START + 2 * DAY];
    const rows = came.map((received_at, i) => ({
      ...window,
      ...{ device: 'd-1', window: i, ts: 0, received_at },
    }));
    await store.insertInto('drift_windows').values(rows).execute();
    const left = async () =>
      (await store.selectFrom('drift_windows').select('window').execute()).map((row) => row.window);
    await all(expireStep, START + 730 * DAY);
    expect(await left()).toEqual([0, 1, 2]);
    expect(await all(expireStep, START + 731 * DAY)).toBe(1);
    expect(await left()).toEqual([1, 2]);
    await all(expireStep, START + 733 * DAY);
    expect(await left()).toEqual([]);
  });

  it('stands a clock that is wrong: such records are kept raw and in no sum', async () => {
    await add(1000, 60, START);
    await add(START + 30 * DAY, 60, START);
    await all(rollStep, START + DAY);
    expect(await store.selectFrom('rollups').selectAll().execute()).toEqual([]);
    expect(await all(expireStep, START + 6 * DAY)).toBe(0);
  });

  it('answers a span as fine as is kept and fits', async () => {
    for (let i = 0; i < 90; i++) await add(START + i * MINUTE, 60, START + i * MINUTE);
    const now = START + DAY;
    await all(rollStep, now);
    const ask = (fromMs: number, limit: number) =>
      seriesBetween(store, { device: 'd-1', stream: 'predictions', fromMs, toMs: now, limit }, POLICY, now);
    const raw = await ask(START + 85 * MINUTE, 1000);
    expect(raw).toMatchObject({ resolution: 'raw' });
    expect(raw.ts).toHaveLength(300);
    const minutes = await ask(START, 2000);
    expect(minutes.resolution).toBe('minute');
    expect(minutes.ts).toHaveLength(90);
    expect(minutes.values).toMatchObject({ score: expect.any(Array), score_min: expect.any(Array) });
    expect([minutes.values.score![0], minutes.values.score_max![0]]).toEqual([29.5, 59]);
    expect(await ask(START, 100)).toMatchObject({ resolution: 'hour', ts: [START, START + HOUR] });
  });

  it('finds its batches by index', async () => {
    const { sql } = await import('kysely');
    const plan = async (text: string) =>
      JSON.stringify((await sql.raw(`EXPLAIN QUERY PLAN ${text}`).execute(store)).rows);
    expect(
      await plan(
        'SELECT device FROM batches WHERE rolled = 0 AND received_at < 5 ORDER BY received_at LIMIT 1',
      ),
    ).toContain('batches_unrolled_by_age');
    expect(
      await plan("SELECT n FROM batches WHERE rolled = 1 AND stream IN ('a', 'b') AND received_at < 5"),
    ).toContain('batches_rolled');
  });

  it('keeps points small', async () => {
    for (let i = 0; i < 60; i++) await add(START + i * MINUTE, 60, START);
    await all(rollStep, START + DAY);
    const row = await store
      .selectFrom('rollups')
      .select('bytes')
      .where('resolution', '=', 'minute')
      .executeTakeFirstOrThrow();
    expect(decodePoints(row.bytes)).toHaveLength(60);
    expect(row.bytes.length).toBeLessThan(3000);
  });
});
