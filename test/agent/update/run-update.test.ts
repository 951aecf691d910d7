import { createHash } from 'node:crypto';
import type {
  AgreedOrder,
  Barred,
  Fetcher,
  ModelRuntime,
  PreflightVerdict,
  ProbationStats,
  Slots,
  StagedModel,
  TrustedView,
} from '@skein/agent/update/ports.ts';
import { UpdateRunner } from '@skein/agent/update/run-update.ts';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { UpdateMessage } from '@skein/protocol/messages.ts';
import type { UpdateReport } from '@skein/protocol/records.ts';
import type { ReleaseFloors } from '@skein/protocol/trust/director.ts';
import { beforeEach, describe, expect, it } from 'vitest';
import { SimDisk, simSlots, simUpdateStore } from '../../sim/disk.ts';
import { VirtualTime } from '../../sim/virtual-time.ts';
import { agreedOrder } from './example.ts';
import { manifestFor } from './manifest.ts';

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
const quiet = { info() {}, warn() {}, error() {} };

/** A published version: its blobs by hash, and the order that means it. */
function publish(id: string, version: string) {
  const model = Buffer.from(`model ${version}`.repeat(20));
  const golden = Buffer.from(`golden ${version}`);
  const file = { sha256: sha256(model), size: model.length };
  const manifest = Buffer.from(
    JSON.stringify(manifestFor(version, file, { sha256: sha256(golden), size: golden.length })),
  );
  const target = {
    path: `models/host/${version}/manifest.json`,
    sizeBytes: manifest.length,
    sha256: sha256(manifest),
  };
  for (const bytes of [model, golden, manifest]) blobs.set(sha256(bytes), bytes);
  return { agreed: { ...agreedOrder(id, version), target }, model: file.sha256 };
}

let time: VirtualTime;
let disk: SimDisk;
let blobs: Map<string, Uint8Array>;
let orders: AgreedOrder[];
let refused: TrustedView['refused'];
let barred: Barred[];
let floors: ReleaseFloors;
let online: boolean;
let verdict: Partial<PreflightVerdict>;
let stats: ProbationStats;
let reports: UpdateReport[];
let loads: string[];
let messages: UpdateMessage[];
let steps: string[];
let runner: UpdateRunner;
/** Throws at the n-th save from now: the power goes. */
let savesLeft: number;

beforeEach(() => {
  time = new VirtualTime();
  disk = new SimDisk();
  blobs = new Map();
  [orders, refused, barred, online, verdict] = [[], [], [], true, {}];
  stats = { inferences: 50, errors: 0, notFinite: 0, p95LatencyUs: 500, p95AtLeastUs: 400 };
  [reports, loads, messages, steps] = [[], [], [], []];
  floors = {};
  savesLeft = Number.POSITIVE_INFINITY;
});

/** Ends the process that runs, between two of its steps. */
let kill = () => {};

class PowerCut extends Error {}

function boot(overrides: { slots?: Partial<Slots>; runtime?: Partial<ModelRuntime> } = {}): Promise<void> {
  kill();
  let alive = true;
  kill = () => {
    alive = false;
  };
  const dead = () => new Promise<never>(() => {});
  const store = simUpdateStore(disk);
  const fetcher: Fetcher = {
    document: async () => undefined,
    async *blob(hash, offset) {
      steps.push('fetch');
      if (!online) throw new SkeinError('UNREACHABLE', 'offline');
      yield blobs.get(hash)!.subarray(offset);
    },
  };
  let refreshedMono = Number.NEGATIVE_INFINITY;
  const clock = time.clock(() => alive);
  const view = (): TrustedView => ({
    directorVersion: 1,
    orders,
    refused,
    barred,
    ackKeys: [],
    refreshedMono,
    refreshedAt: 0,
  });
  const runtime: ModelRuntime = {
    activate: async (model: StagedModel) => {
      steps.push(`load ${model.manifest.version}`);
      loads.push(model.manifest.version);
      return { loaded: model.variant.file.sha256 };
    },
    deactivate: async () => void loads.push('none'),
    stats: () => stats,
    ...overrides.runtime,
  };
  runner = new UpdateRunner({
    fetcher,
    slots: { ...simSlots(disk), ...overrides.slots },
    trust: {
      spokenAgainst: () => ({ barred: view().barred ?? [], releaseFloors: floors }),
      view,
      refresh: async () => {
        if (!online) throw new SkeinError('UNREACHABLE', 'offline');
        refreshedMono = clock.mono();
        return view();
      },
    },
    preflight: {
      run: async (model) => ({
        ok: true,
        code: null,
        detail: null,
        loaded: model.variant.file.sha256,
        golden: { passed: 3, total: 3 },
        environment: false,
        ...verdict,
      }),
    },
    runtime: { ...runtime, activate: (model) => (alive ? runtime.activate(model) : dead()) },
    store: {
      ...store,
      save(model, state) {
        if (!alive) throw new PowerCut();
        if (savesLeft-- <= 0) {
          alive = false;
          throw new PowerCut();
        }
        store.save(model, state);
      },
    },
    reports: {
      report: (report) => {
        if (!alive) throw new PowerCut();
        if (!reports.some((known) => known.id === report.id)) reports.push(report);
      },
    },
    clock,
    entropy: { bytes: (n) => new Uint8Array(n) },
    log: quiet,
    progress: (message) => messages.push(message),
  });
  return runner.start();
}

/** Lets `ms` pass, with everything that happens in them. */
async function pass(ms: number): Promise<void> {
  await new Promise<void>((done) => setImmediate(done));
  const end = time.now + ms;
  time.after(ms, () => {});
  while (await time.step(end)) {}
}
const outcomes = () => reports.map((r) => r.outcome);
const phase = () => runner.states()[0]?.phase.name;

describe('an update from order to commit', () => {
  it('fetches, tries, activates, watches and reports, and says how far it is', async () => {
    const { agreed, model } = publish('o-1', '1.0.0');
    orders = [agreed];
    await boot();
    await runner.refresh();
    await pass(10_000);
    expect(outcomes()).toEqual(['started', 'downloaded', 'preflighted', 'probation', 'committed']);
    expect(reports.at(-1)).toMatchObject({
      loaded: model,
      golden: { passed: 3, total: 3 },
      probation: { inferences: 50, errors: 0, notFinite: 0, p95LatencyUs: 500 },
    });
    expect([loads, runner.active('host')?.version, phase()]).toEqual([['1.0.0'], '1.0.0', 'idle']);
    expect(messages[0]).toEqual({
      installed_version: null,
      latest_version: '1.0.0',
      in_progress: 1,
      update_percentage: 0,
    });
    expect(messages.at(-1)).toEqual({
      installed_version: '1.0.0',
      latest_version: '1.0.0',
      in_progress: 0,
      update_percentage: null,
    });
    const percentages = messages.flatMap((m) => m.update_percentage ?? []);
    expect(percentages).toEqual(percentages.toSorted((a, b) => a - b));
  });

  it('removes what neither the last two releases nor the order under way need', async () => {
    await boot();
    for (const [id, version] of [
      ['o-1', '1.0.0'],
      ['o-2', '1.1.0'],
      ['o-3', '1.2.0'],
    ] as const) {
      orders = [publish(id, version).agreed];
      await runner.refresh();
      await pass(10_000);
    }
    expect(loads).toEqual(['1.0.0', '1.1.0', '1.2.0']);
    expect(disk.blobs.size).toBe(6);
  });

  it('chooses the variant that the manifest names first, and refuses another model’s manifest', async () => {
    const { agreed } = publish('o-1', '1.0.0');
    orders = [{ ...agreed, order: { ...agreed.order, version: '9.9.9' } }];
    await boot();
    await runner.refresh();
    await pass(10_000);
    expect(reports.at(-1)).toMatchObject({ outcome: 'refused', reason: 'METADATA_DISAGREES' });
    expect(loads).toEqual([]);
  });
});

describe('a start', () => {
  it('loads the last good model before any network, and with none', async () => {
    orders = [publish('o-1', '1.0.0').agreed];
    await boot();
    await runner.refresh();
    await pass(10_000);
    online = false;
    orders = [publish('o-2', '1.1.0').agreed];
    steps = [];
    await boot();
    expect(steps[0]).toBe('load 1.0.0');
    expect(runner.active('host')?.version).toBe('1.0.0');
    await pass(60_000);
    expect(outcomes().at(-1)).toBe('started');
    online = true;
    await pass(60_000);
    expect(runner.active('host')?.version).toBe('1.1.0');
  });

  it('runs the last good model although the disk takes no write', async () => {
    orders = [publish('o-1', '1.0.0').agreed];
    await boot();
    await runner.refresh();
    await pass(10_000);
    const full = simUpdateStore(disk);
    disk.rows.set = () => {
      throw new SkeinError('DISK_FULL', 'no space');
    };
    await boot();
    expect(loads).toEqual(['1.0.0', '1.0.0']);
    expect(full.models()).toEqual(['host']);
  });

  it('with a state that can not be read begins anew', async () => {
    disk.rows.set('host', '{"model":');
    orders = [publish('o-1', '1.0.0').agreed];
    await boot();
    await runner.refresh();
    await pass(10_000);
    expect(runner.active('host')?.version).toBe('1.0.0');
  });
});

describe('a power cut', () => {
  it('at any save loses nothing: the update is carried through, and reported once with proof', async () => {
    for (let cutAt = 0; cutAt < 16; cutAt++) {
      [time, disk, blobs, reports, loads] = [new VirtualTime(), new SimDisk(), new Map(), [], []];
      orders = [publish('o-1', '1.0.0').agreed];
      savesLeft = cutAt;
      await boot();
      await runner.refresh();
      await pass(20_000);
      savesLeft = Number.POSITIVE_INFINITY;
      await boot();
      await runner.refresh();
      await pass(20_000);
      expect([cutAt, runner.active('host')?.version, phase()]).toEqual([cutAt, '1.0.0', 'idle']);
      expect(outcomes().filter((o) => o === 'committed')).toHaveLength(1);
      expect(new Set(reports.map((r) => r.id)).size).toBe(reports.length);
    }
  });

  it('during three trials gives the model up and runs the last good one', async () => {
    orders = [publish('o-1', '1.0.0').agreed];
    await boot();
    await runner.refresh();
    await pass(10_000);
    orders = [publish('o-2', '1.1.0').agreed];
    for (let start = 0; start < 3; start++) {
      // The process dies inside the load: nothing after the raised counter is ever saved.
      await boot({
        runtime: {
          activate: (m) =>
            m.manifest.version === '1.1.0'
              ? new Promise(() => {})
              : Promise.resolve({ loaded: m.variant.file.sha256 }),
        },
      });
      await runner.refresh();
      await pass(10_000);
      expect(phase()).toBe('activating');
    }
    await boot();
    await runner.refresh();
    await pass(10_000);
    expect(reports.at(-1)).toMatchObject({ order: 'o-2', outcome: 'reverted', reason: 'START_FAILED' });
    expect(runner.active('host')?.version).toBe('1.0.0');
  });
});

describe('starts that fail', () => {
  const failing = { runtime: { activate: () => new Promise<never>(() => {}) } };

  it.each([
    ['run the release before', {}, ['1.0.0']],
    ['run nothing that is below a floor, though no document says so any more', { host: 3 }, []],
  ])('%s', async (_title, known, runs) => {
    for (const [order, version] of [
      ['o-1', '1.0.0'],
      ['o-2', '1.1.0'],
    ] as const) {
      orders = [publish(order, version).agreed];
      await boot();
      await runner.refresh();
      await pass(60_000);
    }
    expect(runner.active('host')?.version).toBe('1.1.0');
    floors = known;
    online = false;
    for (let start = 0; start < 3; start++) void boot(failing);
    loads = [];
    await boot();
    expect(loads).toEqual(runs);
  });
});

describe('harm', () => {
  beforeEach(async () => {
    orders = [publish('o-1', '1.0.0').agreed];
    await boot();
    await runner.refresh();
    await pass(10_000);
    orders = [publish('o-2', '1.1.0').agreed];
  });

  it('in probation is taken back, offline too', async () => {
    await runner.refresh();
    await pass(1);
    online = false;
    stats = { ...stats, notFinite: 1 };
    await pass(10_000);
    expect(loads).toEqual(['1.0.0', '1.1.0', '1.0.0']);
    expect(reports.at(-1)).toMatchObject({ outcome: 'reverted', reason: 'MODEL_OUTPUT_NOT_FINITE' });
    expect(runner.active('host')?.version).toBe('1.0.0');
  });

  it('in preflight never runs', async () => {
    verdict = { ok: false, code: 'GOLDEN_MISMATCH', detail: 'vector 1' };
    await runner.refresh();
    await pass(10_000);
    expect(loads).toEqual(['1.0.0']);
    expect(reports.at(-1)).toMatchObject({
      outcome: 'refused',
      reason: 'GOLDEN_MISMATCH',
      detail: 'vector 1',
    });
  });

  it('on the disk is mended by fetching again, and is not held against the model', async () => {
    verdict = { ok: false, code: 'BLOB_MISMATCH', environment: true };
    await runner.refresh();
    await pass(300);
    expect(phase()).toBe('preflight');
    verdict = {};
    await pass(30_000);
    expect(runner.active('host')?.version).toBe('1.1.0');
  });

  it('of a withdrawn order is undone: the trial ends and the last good model runs', async () => {
    stats = { ...stats, inferences: 1 };
    await runner.refresh();
    await pass(2_000);
    expect([phase(), runner.active('host')?.version]).toEqual(['probation', '1.1.0']);
    orders = [];
    await runner.refresh();
    await pass(2_000);
    expect([phase(), runner.active('host')?.version]).toEqual(['idle', '1.0.0']);
    expect(reports.at(-1)).toMatchObject({ outcome: 'cancelled', reason: 'ORDER_WITHDRAWN' });
  });
});

describe('a stop', () => {
  it('takes no further step, and a trial that it interrupts does not count as failed', async () => {
    orders = [publish('o-1', '1.0.0').agreed];
    stats = { ...stats, inferences: 0 };
    await boot();
    await runner.refresh();
    await pass(2_000);
    const stopped = runner.stop();
    await pass(5_000);
    await stopped;
    const saved = JSON.parse(disk.rows.get('host')!) as { phase: { name: string; starts: number } };
    expect(saved.phase).toMatchObject({ name: 'probation', starts: 0 });
    const before = disk.rows.get('host');
    await pass(100_000);
    expect(disk.rows.get('host')).toBe(before);
  });
});

describe('a version that offline keys withdraw', () => {
  const withdrawn = (version: string, agreed: AgreedOrder): Barred => ({
    model: 'host',
    version,
    manifestSha256: agreed.target.sha256,
    code: 'MODEL_REVOKED',
    message: 'wrong labels',
  });
  const installed = async (...versions: string[]) => {
    await boot();
    const made = versions.map((version, at) => publish(`o-${at}`, version).agreed);
    for (const agreed of made) {
      orders = [agreed];
      await runner.refresh();
      await pass(10_000);
    }
    orders = [];
    return made;
  };

  it('makes way for the one before it, offline too, and after a restart stays away', async () => {
    const [, second] = await installed('1.0.0', '1.1.0');
    barred = [withdrawn('1.1.0', second!)];
    await runner.refresh();
    online = false;
    await pass(1_000);
    expect(runner.active('host')?.version).toBe('1.0.0');
    expect(reports.at(-1)).toMatchObject({ outcome: 'reverted', reason: 'MODEL_REVOKED', version: '1.1.0' });
    expect(messages.at(-1)).toMatchObject({ installed_version: '1.0.0', in_progress: 0 });
    await boot();
    expect(loads).toEqual(['1.0.0', '1.1.0', '1.0.0', '1.0.0']);
  });

  it('is not even loaded by a start that finds it withdrawn, wherever the power went before', async () => {
    const [, second] = await installed('1.0.0', '1.1.0');
    barred = [withdrawn('1.1.0', second!)];
    // The verified metadata was stored, and the machine was not told any more.
    await boot();
    await pass(1_000);
    expect(loads).toEqual(['1.0.0', '1.1.0', '1.0.0']);
    expect(reports.at(-1)).toMatchObject({ reason: 'MODEL_REVOKED' });
  });

  it('stops when there is none before it, and the next order runs', async () => {
    const [only] = await installed('1.0.0');
    barred = [withdrawn('1.0.0', only!)];
    await runner.refresh();
    await pass(1_000);
    expect([loads.at(-1), runner.active('host')]).toEqual(['none', undefined]);
    orders = [publish('o-9', '2.0.0').agreed];
    await runner.refresh();
    await pass(10_000);
    expect(runner.active('host')?.version).toBe('2.0.0');
  });
});

describe('a disk that loses what it had kept', () => {
  let first: ReturnType<typeof publish>;
  let second: ReturnType<typeof publish>;
  /** Takes only the bytes that were ordered, as a runtime does. */
  const careful: Partial<ModelRuntime> = {
    activate: async ({ manifest: { version }, variant: { file } }) => {
      const bytes = disk.blobs.get(file.sha256);
      if (!bytes) throw new SkeinError('MODEL_INVALID', 'it cannot be read');
      if (sha256(bytes) !== file.sha256) throw new SkeinError('BLOB_MISMATCH', 'it changed on disk');
      loads.push(version);
      return { loaded: file.sha256 };
    },
  };
  const install = async (release: ReturnType<typeof publish>) => {
    orders = [release.agreed];
    await runner.refresh();
    await pass(10_000);
  };
  const damage = (hash: string) => disk.blobs.set(hash, new Uint8Array(disk.blobs.get(hash)!.length));

  beforeEach(async () => {
    [first, second] = [publish('o-1', '1.0.0'), publish('o-2', '1.1.0')];
    await boot({ runtime: careful });
    await install(first);
  });

  it.each(['model', 'manifest'])('fetches a damaged %s again, with nothing to fall back to', async (what) => {
    damage(what === 'model' ? first.model : first.agreed.target.sha256);
    [loads, online] = [[], false];
    await boot({ runtime: careful });
    await pass(60_000);
    expect([loads, runner.states()[0]!.committed!.version]).toEqual([[], '1.0.0']);
    online = true;
    await pass(600_000);
    expect([loads, runner.active('host')?.version]).toEqual([['1.0.0'], '1.0.0']);
    expect(outcomes()).not.toContain('reverted');
  });

  it('runs the one before meanwhile, offline too, and ends no order for it', async () => {
    await install(second);
    disk.blobs.delete(second.model);
    [loads, online] = [[], false];
    await boot({ runtime: careful });
    await pass(1_000);
    expect([loads, runner.active('host')?.version]).toEqual([['1.0.0'], '1.0.0']);
    online = true;
    await pass(600_000);
    expect([loads, runner.active('host')?.version]).toEqual([['1.0.0', '1.1.0'], '1.1.0']);
    expect(outcomes()).not.toContain('reverted');
  });

  it('between preflight and load is no fault of the model', async () => {
    let lost = false;
    const activate: ModelRuntime['activate'] = async (model) => {
      if (model.manifest.version === '1.1.0' && !lost) lost = disk.blobs.delete(second.model);
      return careful.activate!(model);
    };
    await boot({ runtime: { activate } });
    await install(second);
    await pass(60_000);
    expect([lost, runner.active('host')?.version, phase()]).toEqual([true, '1.1.0', 'idle']);
    expect(outcomes()).not.toContain('reverted');
  });

  it('of golden vectors fetches those again, and not the model', async () => {
    const golden = sha256(Buffer.from('golden 1.1.0'));
    verdict = { ok: false, code: 'BLOB_MISMATCH', environment: true };
    orders = [second.agreed];
    await runner.refresh();
    await pass(300);
    damage(golden);
    steps = [];
    await pass(10_000);
    expect(steps).toContain('fetch');
    verdict = {};
    await pass(600_000);
    expect(runner.active('host')?.version).toBe('1.1.0');
    expect(Buffer.from(disk.blobs.get(golden)!).toString()).toBe('golden 1.1.0');
  });
});
