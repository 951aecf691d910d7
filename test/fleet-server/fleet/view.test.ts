import { fleetSinks } from '@skein/fleet-server/fleet/sinks.ts';
import { createFleetView } from '@skein/fleet-server/fleet/view.ts';
import { openSqliteStore, type Store } from '@skein/fleet-server/store/sqlite-store.ts';
import type { DeviceSummary, StreamEvents } from '@skein/protocol/api.ts';
import { topicFor } from '@skein/protocol/topics.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type ManualClock, manualClock } from '../../agent/manual-clock.ts';

let store: Store;
let clock: ManualClock;
let told: { type: string; data: unknown }[];
const refused: string[] = [];

const log = { info: () => {}, warn: (message: string) => void refused.push(message), error: () => {} };
const newView = async () => {
  const view = createFleetView({
    store,
    clock,
    log,
    fleet: 'lab',
    publish: (type: keyof StreamEvents, data: unknown) => void told.push({ type, data }),
  });
  await view.load();
  return view;
};
const say = (view: Awaited<ReturnType<typeof newView>>, channel: string, message: unknown, device = 'd-1') =>
  view.handle(
    topicFor('lab', device, channel as 'status'),
    new TextEncoder().encode(typeof message === 'string' ? message : JSON.stringify(message)),
  );
const status = (boot: string, online = 1) => ({ online, session: 's', boot, agentVersion: '1' });

/** Queries of SQLite take turns of the event loop that a manual clock knows nothing of. */
const settled = async (fits: () => boolean) => {
  for (let i = 0; i < 200 && !fits(); i += 1) await new Promise((resolve) => setImmediate(resolve));
  expect(fits()).toBe(true);
};

beforeEach(async () => {
  store = await openSqliteStore(':memory:');
  clock = manualClock();
  told = [];
  refused.length = 0;
  await store
    .insertInto('devices')
    .values({
      id: 'd-1',
      name: 'roof',
      groups_json: '["lab"]',
      report_key: '00',
      cert_serial: '1',
      cert_not_after: 9e12,
      enrolled_at: 1,
      revoked_at: null,
    })
    .execute();
});
afterEach(() => store.destroy());

describe('the fleet view', () => {
  it('counts a device as offline until it says otherwise, also after a restart', async () => {
    const view = await newView();
    expect(view.summary('d-1')).toMatchObject({ online: false, lastSeen: null, model: null, predictions: 0 });
    say(view, 'status', status('b1'));
    expect(view.summary('d-1')).toMatchObject({ online: true, lastSeen: clock.now() });
    await view.close();
    expect((await newView()).summary('d-1')).toMatchObject({ online: false, lastSeen: clock.now() });
  });

  it('names the model that the latest reading came from', async () => {
    const view = await newView();
    say(view, 'state', { ts: 1, model: 'host', version: '1.2.0', score: 0.5 });
    expect(view.summary('d-1')?.model).toBe('host@1.2.0');
    expect(told).toContainEqual({
      type: 'state',
      data: { device: 'd-1', state: { ts: 1, model: 'host', version: '1.2.0', score: 0.5 } },
    });
  });

  it('reads stored counts, incidents and drift again after ingest committed them', async () => {
    const view = await newView();
    await store
      .insertInto('streams')
      .values([
        {
          device: 'd-1',
          stream: 'predictions',
          epoch: 'e1',
          ordinal: 1,
          next_seq: 3,
          head: '',
          stored: 40,
          updated_at: 1,
        },
        {
          device: 'd-1',
          stream: 'predictions',
          epoch: 'e2',
          ordinal: 2,
          next_seq: 1,
          head: '',
          stored: 2,
          updated_at: 1,
        },
        {
          device: 'd-1',
          stream: 'health',
          epoch: 'e1',
          ordinal: 1,
          next_seq: 1,
          head: '',
          stored: 9,
          updated_at: 1,
        },
      ])
      .execute();
    const sinks = fleetSinks(view.touch, clock);
    const incident = { code: 'DISK_LOW', severity: 'warning', start_time: 5, end_time: null };
    const window = {
      ts: 7,
      boot: 'b',
      model: 'host',
      version: '1.0.0',
      profile: '0',
      window: 1,
      verdict: 'drift',
    };
    await store.transaction().execute(async (tx) => {
      const sinkOf = (stream: string) => sinks.find((s) => s.stream === stream)!;
      const event = { kind: 'incident', event: { type: 'new', id: 'i1', before: null, after: incident } };
      await sinkOf('events').accept(tx, 'd-1', [event, event]);
      await sinkOf('drift').accept(tx, 'd-1', [window, window]);
    });
    for (const sink of sinks) sink.committed('d-1');
    await clock.advance(300);
    await settled(() => told.some((event) => event.type === 'device'));
    const last = told.findLast((event) => event.type === 'device')!.data as DeviceSummary;
    expect(last).toMatchObject({ predictions: 42, warnings: 1, drift: 'drift' });
  });

  it('refuses malformed messages and keeps what it had', async () => {
    const view = await newView();
    say(view, 'state', { ts: 1, score: 1 });
    for (const bad of ['', 'not json', '[]', '{"ts":"now"}', { ts: 1, alarm: 2 }, 'x'.repeat(70_000)]) {
      say(view, 'state', bad);
    }
    expect(view.live('d-1')?.state).toEqual({ ts: 1, score: 1 });
    expect(refused).toHaveLength(5);
  });

  it('does not listen to devices that are not enrolled, nor to other fleets', async () => {
    const view = await newView();
    say(view, 'status', status('b'), 'd-stranger');
    view.handle('skein/v1/elsewhere/d-1/status', new TextEncoder().encode(JSON.stringify(status('b'))));
    view.handle('skein/v1/lab/d-1/nonsense', new Uint8Array(3));
    expect(view.summaries()).toHaveLength(1);
    expect(view.summary('d-1')?.online).toBe(false);
  });

  it('tells a cloned identity from a restart', async () => {
    const view = await newView();
    const cloned = () =>
      store.selectFrom('incidents').select('code').where('id', '=', 'identity-cloned').execute();
    for (const boot of ['b1', 'b1', 'b2', 'b3']) say(view, 'status', status(boot));
    expect(await cloned()).toEqual([]);
    say(view, 'status', status('b2'));
    const events = () => told.filter(({ type }) => type === 'incident');
    await settled(() => events().length > 0);
    expect(await cloned()).toEqual([{ code: 'IDENTITY_CLONED' }]);
    expect(events()).toMatchObject([{ data: { device: 'd-1', incident: { code: 'IDENTITY_CLONED' } } }]);
    // They go on taking turns: it has been said.
    for (const boot of ['b3', 'b2', 'b3']) say(view, 'status', status(boot));
    await new Promise((resolve) => setImmediate(resolve));
    await clock.advance(1_000);
    await settled(() => view.summary('d-1')?.warnings === 1);
    expect(events()).toHaveLength(1);
  });

  it('writes last-seen down at most every ten seconds, however often a device speaks', async () => {
    const view = await newView();
    const stored = async () =>
      (await store.selectFrom('presence').select('last_seen').executeTakeFirst())?.last_seen;
    for (let i = 0; i < 9; i += 1) {
      say(view, 'state', { ts: i });
      await clock.advance(1_000);
    }
    expect(await stored()).toBeUndefined();
    await clock.advance(1_500);
    await new Promise((resolve) => setImmediate(resolve));
    expect(await stored()).toBe(clock.now() - 2_500);
  });

  it('forgets a device that was erased, whatever is still under way of it', async () => {
    const view = await newView();
    say(view, 'status', status('b1'));
    const reading = view.refresh('d-1');
    view.forget('d-1');
    await reading;
    say(view, 'status', status('b1'));
    view.touch('d-1');
    expect([view.live('d-1'), view.summaries(), view.isEnrolled('d-1')]).toEqual([undefined, [], false]);
    await view.close();
    expect(await store.selectFrom('presence').selectAll().execute()).toEqual([]);
  });
});
