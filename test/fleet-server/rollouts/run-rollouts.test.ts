import type { RolloutStore } from '@skein/fleet-server/rollouts/port.ts';
import { reportSink } from '@skein/fleet-server/rollouts/report-sink.ts';
import { RolloutRunner } from '@skein/fleet-server/rollouts/run-rollouts.ts';
import { candidatesOf, sqliteRollouts, variantsOf } from '@skein/fleet-server/rollouts/sqlite-rollouts.ts';
import { openSqliteStore, type Store } from '@skein/fleet-server/store/sqlite-store.ts';
import type { Order } from '@skein/protocol/orders.ts';
import type { UpdateReport } from '@skein/protocol/records.ts';
import type { RolloutView } from '@skein/protocol/rollout.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { manifestFor } from '../../agent/update/manifest.ts';
import { VirtualTime } from '../../sim/virtual-time.ts';
import { deviceNames, GOOD_HASH, report, SPEC, START } from './example.ts';

let db: Store;
let time: VirtualTime;
let store: RolloutStore;
let runner: RolloutRunner;
/** What the director was told, in order. */
let told: [device: string, order: string | null][];
let seen: RolloutView[];
let deskFails: number;

const quiet = { info() {}, warn() {}, error() {} };
const desk = {
  set: async (device: string, _model: string, order: Order | null) => {
    if (deskFails-- > 0) throw new Error('the director is away');
    told.push([device, order?.id ?? null]);
  },
};
const start = () => {
  runner = new RolloutRunner({
    store,
    desk,
    clock: time.clock(() => true),
    log: quiet,
    changed: (v) => seen.push(v),
  });
  return runner.start();
};
const candidates = deviceNames(3).map((device) => ({ device, previous: { version: '1.0.0', order: null } }));
const create = (id = 'r-one') => runner.create(id, SPEC, [GOOD_HASH], candidates);
const pass = async (ms: number) => {
  const end = time.now + ms;
  while (await time.step(end)) {}
};

beforeEach(async () => {
  db = await openSqliteStore(':memory:');
  time = new VirtualTime();
  store = sqliteRollouts(db);
  told = [];
  seen = [];
  deskFails = 0;
  await start();
});
afterEach(async () => {
  await runner.stop();
  await db.destroy();
});

/** As ingest does it: one transaction, then the hook after its commit. */
async function ingest(device: string, ...reports: UpdateReport[]): Promise<void> {
  const sink = reportSink(runner);
  const records = reports.map((r) => ({ ts: START, mono: 0, boot: 'b', kind: 'update' as const, report: r }));
  await db.transaction().execute((tx) => sink.accept(tx, device, records));
  sink.committed(device);
  await runner.settle();
}

describe('the rollout shell', () => {
  it('orders the first stage at once, and the next after soak, by its own timer', async () => {
    const view = await create();
    expect(view).toMatchObject({ state: 'running', stage: 0, revision: 0 });
    const [device] = told[0]!;
    await ingest(device, report('started'), report('committed'));
    expect(told).toHaveLength(1);
    await pass(SPEC.soakMs + 100);
    expect(told.map(([, order]) => order)).toEqual(['r-one.1', 'r-one.1', 'r-one.1']);
    expect((await runner.show('r-one')).stage).toBe(1);
    expect(seen.map((v) => v.state)).toContain('running');
    expect(seen.at(-1)?.counts).toEqual({ committed: 1, ordered: 2 });
  });

  it('performs after a crash what was saved before it', async () => {
    deskFails = 1;
    await create();
    expect(told).toEqual([]);
    await runner.stop();
    await start();
    expect(told).toHaveLength(1);
    expect(await store.openEffects(10)).toEqual([]);
  });

  it('tries again when the director was away', async () => {
    deskFails = 2;
    await create();
    await pass(20_000);
    expect(told).toHaveLength(1);
  });

  it('steps again from the newer row when another server was there first', async () => {
    await create();
    let meddle = true;
    const contended: RolloutStore = {
      ...store,
      save: async (rollout, expected, effects) => {
        if (meddle) {
          meddle = false;
          const row = (await store.load('r-one'))!;
          await store.save({ ...row.rollout, stop: 'touched' }, row.revision, []);
        }
        return store.save(rollout, expected, effects);
      },
    };
    await runner.step(contended, 'r-one', { type: 'steer', action: 'pause' });
    expect(await store.load('r-one')).toMatchObject({
      revision: 2,
      rollout: { state: 'paused', stop: 'touched' },
    });
  });

  it('keeps two live rollouts of one model off the same devices', async () => {
    await create();
    await expect(create('r-two')).rejects.toMatchObject({
      code: 'CONFLICT',
      fix: expect.stringContaining('abort r-one'),
    });
    await runner.steer('r-one', 'abort');
    expect((await create('r-two')).state).toBe('running');
  });

  it('says that it does not know a rollout', async () => {
    await expect(runner.show('r-none')).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await expect(runner.steer('r-none', 'pause')).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });
});

describe('reports from ingest', () => {
  it('are stored once, however often they come, and step the rollout once', async () => {
    await create();
    const [device] = told[0]!;
    await ingest(device, report('probation'), report('committed'));
    const { revision } = await runner.show('r-one');
    await ingest(device, report('probation'), report('committed'));
    expect((await runner.show('r-one')).revision).toBe(revision);
    const rows = await db
      .selectFrom('update_reports')
      .select(['id', 'device'])
      .orderBy('id', 'desc')
      .execute();
    expect(rows).toEqual([
      { id: 'r-one.1:probation', device },
      { id: 'r-one.1:committed', device },
    ]);
  });

  it('say what is installed, from proof only', async () => {
    await create();
    const [device] = told[0]!;
    await ingest(device, report('probation'));
    expect(await db.selectFrom('installed').selectAll().execute()).toEqual([]);
    await ingest(device, report('committed'));
    expect(await db.selectFrom('installed').selectAll().execute()).toEqual([
      { device, model: 'host', version: '1.1.0', sha256: GOOD_HASH, since: START },
    ]);
  });

  it('of rollouts that this server does not know are kept and do no harm', async () => {
    await ingest('d-1', report('refused', { rollout: 'r-gone', id: 'r-gone.1:refused' }));
    expect(await db.selectFrom('update_reports').select('outcome').execute()).toEqual([
      { outcome: 'refused' },
    ]);
  });

  it('are undone with the batch that carried them', async () => {
    await create();
    const [device] = told[0]!;
    const sink = reportSink(runner);
    const records = [{ ts: START, mono: 0, boot: 'b', kind: 'update' as const, report: report('committed') }];
    const aborted = db.transaction().execute(async (tx) => {
      await sink.accept(tx, device, records);
      throw new Error('the batch is not accepted');
    });
    await expect(aborted).rejects.toThrow('not accepted');
    expect((await runner.show('r-one')).counts).toEqual({ ordered: 1, waiting: 2 });
    expect(await db.selectFrom('update_reports').selectAll().execute()).toEqual([]);
  });
});

describe('candidates', () => {
  beforeEach(async () => {
    const device = (id: string, groups: string[], revoked: number | null = null) => ({
      id,
      name: id,
      groups_json: JSON.stringify(groups),
      report_key: '',
      cert_serial: '',
      cert_not_after: 0,
      enrolled_at: 0,
      revoked_at: revoked,
    });
    await db
      .insertInto('devices')
      .values([device('d-a', ['lab']), device('d-b', []), device('d-c', ['lab'], 5)])
      .execute();
    await db
      .insertInto('installed')
      .values({ device: 'd-a', model: 'host', version: '1.0.0', sha256: GOOD_HASH, since: 1 })
      .execute();
  });

  it('are the group’s devices that are not revoked, with what they run', async () => {
    expect(await candidatesOf(db, 'lab', 'host')).toEqual([
      { device: 'd-a', previous: { version: '1.0.0', order: null } },
    ]);
    expect((await candidatesOf(db, 'all', 'host')).map((c) => c.device)).toEqual(['d-a', 'd-b']);
  });

  it('need a model that is published and not revoked', async () => {
    const file = { sha256: GOOD_HASH, size: 1 };
    const row = {
      name: 'host',
      version: '1.1.0',
      release: 1,
      floor: 0,
      manifest_sha256: GOOD_HASH,
      manifest_json: JSON.stringify(manifestFor('1.1.0', file, file)),
      published_at: 0,
    };
    await expect(variantsOf(db, 'host', '1.1.0')).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await db
      .insertInto('models')
      .values({ ...row, revoked_at: null })
      .execute();
    expect(await variantsOf(db, 'host', '1.1.0')).toEqual([GOOD_HASH]);
    await db.updateTable('models').set({ revoked_at: 9 }).execute();
    await expect(variantsOf(db, 'host', '1.1.0')).rejects.toMatchObject({ code: 'ROLLOUT_INVALID' });
  });
});
