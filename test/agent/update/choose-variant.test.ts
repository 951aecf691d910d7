/** The real update shell over a simulated disk and memory: which variant it installs, what it writes, what a crash leaves. */
import { createHash } from 'node:crypto';
import type { BackendFacts } from '@skein/agent/inference/backend.ts';
import { ANYTHING } from '@skein/agent/inference/backends.ts';
import type { AgreedOrder, Measured, PreflightVerdict, TrustedView } from '@skein/agent/update/ports.ts';
import { UpdateRunner } from '@skein/agent/update/run-update.ts';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Variant } from '@skein/protocol/manifest.ts';
import type { UpdateMessage } from '@skein/protocol/messages.ts';
import type { UpdateReport } from '@skein/protocol/records.ts';
import { beforeEach, describe, expect, it } from 'vitest';
import { SimDisk, simSlots, simUpdateStore } from '../../sim/disk.ts';
import { VirtualTime } from '../../sim/virtual-time.ts';
import { agreedOrder } from './example.ts';
import { manifestFor } from './manifest.ts';

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
const blobs = new Map<string, Uint8Array>();
const put = (text: string) => {
  const bytes = Buffer.from(text.repeat(50));
  blobs.set(sha256(bytes), bytes);
  return { sha256: sha256(bytes), size: bytes.length };
};

/** hef of a sidecar, then int8 and fp32 of the agent's own. */
function publish(id: string, version: string, only = ['hef', 'int8', 'fp32']) {
  const more: Record<string, Partial<Variant>> = {
    hef: { backend: 'hailo', target: 'hailo8l' },
    int8: {},
    fp32: {},
  };
  const made = manifestFor(version, put(`fp32 ${version}`), put(`golden ${version}`));
  const variants = only.map((name) => ({
    ...made.variants[0]!,
    ...more[name],
    id: name,
    file: put(`${name} ${version}`),
  }));
  const bytes = Buffer.from(JSON.stringify({ ...made, variants }));
  blobs.set(sha256(bytes), bytes);
  const target = {
    path: `models/host/${version}/manifest.json`,
    sizeBytes: bytes.length,
    sha256: sha256(bytes),
  };
  const agreed: AgreedOrder = { ...agreedOrder(id, version), target };
  return { agreed, hashOf: (name: string) => variants.find((v) => v.id === name)!.file.sha256 };
}

let time: VirtualTime;
let disk: SimDisk;
let memory: SimDisk;
let orders: AgreedOrder[];
let facts: BackendFacts;
let verdicts: Record<string, Partial<PreflightVerdict>>;
let medians: Record<string, number> | undefined;
let reports: UpdateReport[];
let messages: UpdateMessage[];
let loads: string[];
let measured: string[][];
let standIns: (string | null)[];
let fetched: number;
let scratch: boolean;
let sidecarLoads: boolean;
let runner: UpdateRunner;
let kill = () => {};
let savesLeft: number;

beforeEach(() => {
  blobs.clear();
  [time, disk, memory] = [new VirtualTime(), new SimDisk(), new SimDisk()];
  [orders, verdicts, reports, messages, loads, measured, standIns] = [[], {}, [], [], [], [], []];
  facts = { target: 'hailo8l', sdk: '4', fault: null };
  medians = { hef: 100, int8: 300, fp32: 700 };
  [fetched, scratch, sidecarLoads, savesLeft] = [0, true, true, Number.POSITIVE_INFINITY];
});

class PowerCut extends Error {}

function boot(): Promise<void> {
  kill();
  let alive = true;
  kill = () => {
    alive = false;
  };
  const store = simUpdateStore(disk);
  const clock = time.clock(() => alive);
  const view = (): TrustedView => ({
    ...{ directorVersion: 1, orders, refused: [], ackKeys: [], refreshedAt: 0 },
    refreshedMono: clock.mono(),
  });
  runner = new UpdateRunner({
    fetcher: {
      document: async () => undefined,
      async *blob(hash, offset) {
        fetched += blobs.get(hash)!.length - offset;
        yield blobs.get(hash)!.subarray(offset);
      },
    },
    slots: simSlots(disk),
    ...(scratch ? { scratch: { ...simSlots(memory), pathOf: (hash: string) => `/memory/${hash}` } } : {}),
    backends: { facts: async (name) => (name === 'hailo' ? facts : ANYTHING) },
    standIn: (_, why) => standIns.push(why),
    trust: { view, spokenAgainst: () => ({ barred: [], releaseFloors: {} }), refresh: async () => view() },
    preflight: {
      run: async ({ variant }, _signal, compiling) => {
        if (variant.id === 'hef') compiling?.(0.4);
        return {
          ...{ ok: true, code: null, detail: null, loaded: variant.file.sha256, environment: false },
          golden: { passed: 3, total: 3 },
          ...verdicts[variant.id],
        };
      },
      measure: async (models): Promise<Measured> => {
        const ids = models.map(({ variant }) => variant.id);
        measured.push(ids);
        if (!medians) return { failed: 'no answer within 60000 ms' };
        return { figures: ids.map((variant) => ({ variant, medianUs: medians![variant]! })) };
      },
    },
    runtime: {
      activate: async ({ variant, manifest }) => {
        if (!alive) return new Promise(() => {});
        if (variant.backend === 'hailo' && !sidecarLoads)
          throw new SkeinError('BACKEND_UNAVAILABLE', 'connection refused');
        loads.push(`${variant.id} ${manifest.version}`);
        return { loaded: variant.file.sha256 };
      },
      deactivate: async () => void loads.push('none'),
      stats: () => ({ inferences: 50, errors: 0, notFinite: 0, p95LatencyUs: 500, p95AtLeastUs: 400 }),
    },
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
    log: { info() {}, warn() {}, error() {} },
    progress: (message) => messages.push(message),
  });
  return runner.start();
}

async function pass(ms: number): Promise<void> {
  await new Promise<void>((done) => setImmediate(done));
  const end = time.now + ms;
  time.after(ms, () => {});
  while (await time.step(end)) {}
}
async function rollOut(agreed: AgreedOrder, ms = 10_000): Promise<void> {
  orders = [agreed];
  await runner.refresh();
  await pass(ms);
}
const committed = () => runner.states()[0]!.committed;
const onDisk = () => [...disk.blobs.keys()];

describe('a device with several variants to choose from', () => {
  it('installs the fastest of those that pass, and says why with the figures', async () => {
    await boot();
    medians = { hef: 400, int8: 300, fp32: 700 };
    const { agreed, hashOf } = publish('o-1', '1.0.0');
    await rollOut(agreed);
    expect(loads).toEqual(['int8 1.0.0']);
    const why = 'int8: fastest of 3 that pass; medians here int8 300 µs, hef 400 µs, fp32 700 µs';
    expect(committed()).toMatchObject({ variant: 'int8', reason: why });
    expect(reports.find((r) => r.outcome === 'preflighted')).toMatchObject({
      detail: why,
      loaded: hashOf('int8'),
    });
    expect(reports.at(-1)).toMatchObject({ outcome: 'committed', loaded: hashOf('int8') });
  });

  it('writes only the winner to the disk, and keeps nothing in memory', async () => {
    await boot();
    medians = { hef: 400, int8: 300, fp32: 700 };
    const { agreed, hashOf } = publish('o-1', '1.0.0');
    await rollOut(agreed);
    expect(onDisk()).toContain(hashOf('int8'));
    expect(onDisk()).not.toContain(hashOf('fp32'));
    expect(disk.blobs.size).toBe(3);
    expect([memory.blobs.size, memory.parts.size]).toEqual([0, 0]);
  });

  it('leaves out one whose answers are wrong, however fast it is', async () => {
    await boot();
    verdicts.int8 = { ok: false, code: 'GOLDEN_MISMATCH', detail: 'differs by 1' };
    await rollOut(publish('o-1', '1.0.0', ['int8', 'fp32']).agreed);
    expect(loads).toEqual(['fp32 1.0.0']);
    expect(committed()!.reason).toContain('not int8: GOLDEN_MISMATCH differs by 1');
    expect(measured).toEqual([]);
  });

  it('refuses the release when none passes, for the model’s own fault', async () => {
    await boot();
    for (const id of ['hef', 'int8', 'fp32'])
      verdicts[id] = { ok: false, code: 'GOLDEN_MISMATCH', detail: id };
    await rollOut(publish('o-1', '1.0.0').agreed);
    expect(reports.at(-1)).toMatchObject({ outcome: 'refused', reason: 'GOLDEN_MISMATCH' });
    expect(loads).toEqual([]);
  });

  it('measures once: the next version downloads the one variant that won', async () => {
    await boot();
    await rollOut(publish('o-1', '1.0.0', ['int8', 'fp32']).agreed);
    fetched = 0;
    const next = publish('o-2', '1.1.0', ['int8', 'fp32']);
    await rollOut(next.agreed);
    expect(measured).toHaveLength(1);
    expect(loads).toEqual(['int8 1.0.0', 'int8 1.1.0']);
    expect(committed()!.reason).toContain('fastest when measured here before (int8 300 µs, fp32 700 µs)');
    const blobOf = (name: string) => blobs.get(next.hashOf(name))!.length;
    const golden = committed()!.golden.size;
    expect(fetched).toBe(next.agreed.target.sizeBytes + golden + blobOf('int8'));
  });

  it('brings a stand-in along with a later version too', async () => {
    await boot();
    await rollOut(publish('o-1', '1.0.0').agreed);
    const next = publish('o-2', '1.1.0');
    await rollOut(next.agreed);
    expect(committed()!.standIn).toMatchObject({ variant: 'int8', model: { sha256: next.hashOf('int8') } });
    expect(onDisk()).not.toContain(next.hashOf('fp32'));
    sidecarLoads = false;
    await boot();
    expect(loads.at(-1)).toBe('int8 1.1.0');
  });

  it('measures again when the runtime of its backend changed, and not at a start', async () => {
    await boot();
    await rollOut(publish('o-1', '1.0.0').agreed);
    await boot();
    await pass(1_000);
    expect(measured).toHaveLength(1);
    facts = { ...facts, sdk: '5' };
    await rollOut(publish('o-2', '1.1.0').agreed);
    expect(measured).toHaveLength(2);
  });

  it('takes the next of the manifest when the remembered one fails with a new version', async () => {
    await boot();
    await rollOut(publish('o-1', '1.0.0').agreed);
    verdicts.hef = { ok: false, code: 'GOLDEN_MISMATCH', detail: 'differs' };
    await rollOut(publish('o-2', '1.1.0').agreed);
    expect(loads.at(-1)).toBe('int8 1.1.0');
  });

  it.each([
    [
      'measuring fails',
      () => {
        medians = undefined;
      },
      'measuring failed: no answer',
    ],
    [
      'there is no memory for candidates',
      () => {
        scratch = false;
      },
      'nothing can be measured here',
    ],
  ])('goes by the manifest’s order when %s', async (_title, spoil, words) => {
    spoil();
    await boot();
    await rollOut(publish('o-1', '1.0.0', ['fp32', 'int8']).agreed);
    expect(loads).toEqual(['fp32 1.0.0']);
    expect(committed()!.reason).toContain(words);
    expect(runner.states()[0]!.choice ?? null).toBeNull();
  });
});

describe('a backend that is not usable', () => {
  it('does not keep a model with another variant from coming', async () => {
    facts = { ...facts, fault: { code: 'BACKEND_UNAVAILABLE', detail: 'connection refused' } };
    await boot();
    const { agreed, hashOf } = publish('o-1', '1.0.0');
    await rollOut(agreed);
    expect(loads).toEqual(['int8 1.0.0']);
    expect(committed()!.reason).toContain('not hef: BACKEND_UNAVAILABLE: connection refused');
    expect(memory.blobs.has(hashOf('hef'))).toBe(false);
  });

  it.each([
    ['away', { fault: { code: 'BACKEND_UNAVAILABLE', detail: 'refused' } as const }],
    ['of other hardware', { target: 'hailo8' }],
  ])('keeps a model waiting that has no other variant, and refuses nothing: %s', async (_title, change) => {
    const good = facts;
    facts = { ...facts, ...change };
    await boot();
    await rollOut(publish('o-1', '1.0.0', ['hef']).agreed, 600_000);
    expect(reports.map((r) => r.outcome)).toEqual(['started']);
    facts = good;
    await pass(600_000);
    expect(reports.at(-1)).toMatchObject({ outcome: 'committed' });
    expect(runner.states()[0]!.quarantined).toEqual([]);
  });

  it.each(['BACKEND_BUSY', 'DRIVER_MISMATCH'])(
    'in preflight (%s) is tried again and never held against the model',
    async (code) => {
      verdicts.hef = { ok: false, code, detail: 'x', environment: true };
      await boot();
      await rollOut(publish('o-1', '1.0.0', ['hef']).agreed, 60_000);
      expect(reports.map((r) => r.outcome)).toEqual(['started', 'downloaded']);
      delete verdicts.hef;
      await pass(600_000);
      expect(reports.at(-1)).toMatchObject({ outcome: 'committed' });
    },
  );

  it('at a start lets the stand-in run, until it is back', async () => {
    await boot();
    const { agreed, hashOf } = publish('o-1', '1.0.0');
    await rollOut(agreed);
    expect(committed()).toMatchObject({ variant: 'hef', backend: 'hailo', standIn: { variant: 'int8' } });
    expect(onDisk()).toEqual(expect.arrayContaining([hashOf('hef'), hashOf('int8')]));
    sidecarLoads = false;
    await boot();
    expect(loads.at(-1)).toBe('int8 1.0.0');
    expect(standIns.at(-1)).toContain('int8 instead of hef: BACKEND_UNAVAILABLE');
    await pass(120_000);
    expect(loads.filter((l) => l === 'int8 1.0.0')).toHaveLength(1);
    sidecarLoads = true;
    await pass(600_000);
    expect([loads.at(-1), standIns.at(-1)]).toEqual(['hef 1.0.0', null]);
    expect(reports.filter((r) => r.outcome === 'reverted')).toEqual([]);
  });

  it('that goes away while it runs is replaced after a while, and gets its model back at once', async () => {
    await boot();
    await rollOut(publish('o-1', '1.0.0').agreed);
    sidecarLoads = false;
    runner.backendChanged('hailo', false);
    await pass(9_000);
    expect(loads.at(-1)).toBe('hef 1.0.0');
    await pass(2_000);
    expect(loads.at(-1)).toBe('int8 1.0.0');
    sidecarLoads = true;
    runner.backendChanged('hailo', true);
    await pass(100);
    expect(loads.at(-1)).toBe('hef 1.0.0');
  });

  it('that is back within seconds changes nothing', async () => {
    await boot();
    await rollOut(publish('o-1', '1.0.0').agreed);
    runner.backendChanged('hailo', false);
    await pass(3_000);
    runner.backendChanged('hailo', true);
    await pass(60_000);
    expect(loads).toEqual(['hef 1.0.0']);
  });
});

it('says that a backend compiles, and how far it is', async () => {
  await boot();
  await rollOut(publish('o-1', '1.0.0').agreed);
  expect(messages.find((m) => m.compiling !== undefined)).toMatchObject({ compiling: 40, in_progress: 1 });
  expect(messages.at(-1)).not.toHaveProperty('compiling');
});

describe('a power cut at any save', () => {
  it.each(Array.from({ length: 14 }, (_, n) => n))('(save %i) ends in the same choice', async (n) => {
    savesLeft = n;
    const { agreed, hashOf } = publish('o-1', '1.0.0');
    await boot().catch(() => undefined);
    await rollOut(agreed);
    savesLeft = Number.POSITIVE_INFINITY;
    // Memory does not outlive the power.
    memory.blobs.clear();
    memory.parts.clear();
    await boot();
    await rollOut(agreed, 60_000);
    expect(committed()).toMatchObject({ variant: 'hef', model: { sha256: hashOf('hef') } });
    expect(reports.at(-1)).toMatchObject({ outcome: 'committed', loaded: hashOf('hef') });
    expect(onDisk()).not.toContain(hashOf('fp32'));
  });
});
