import { createHash } from 'node:crypto';
import { BlobSupply } from '@skein/agent/update/blob-supply.ts';
import { type Gate, type Hold, openGate } from '@skein/agent/update/gate.ts';
import { stepUpdate } from '@skein/agent/update/machine.ts';
import { type AgreedOrder, NO_STATS, type TrustedView } from '@skein/agent/update/ports.ts';
import { UpdateRunner } from '@skein/agent/update/run-update.ts';
import type { UpdateMessage } from '@skein/protocol/messages.ts';
import type { Order } from '@skein/protocol/orders.ts';
import type { UpdateReport } from '@skein/protocol/records.ts';
import { HOUR, MINUTE } from '@skein/protocol/units.ts';
import { beforeEach, describe, expect, it } from 'vitest';
import { SimDisk, simSlots, simUpdateStore } from '../../sim/disk.ts';
import { VirtualTime } from '../../sim/virtual-time.ts';
import { AGREED, agreedOrder, stateIn } from './example.ts';
import { manifestFor } from './manifest.ts';

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
const quiet = { info() {}, warn() {}, error() {} };
const blobs = new Map<string, Uint8Array>();

function publish(id: string, version: string, transfer?: Order['transfer']): AgreedOrder {
  const model = Buffer.from(`model ${version}`.repeat(100));
  const golden = Buffer.from(`golden ${version}`);
  const file = { sha256: sha256(model), size: model.length };
  const manifest = Buffer.from(
    JSON.stringify(manifestFor(version, file, { sha256: sha256(golden), size: golden.length })),
  );
  for (const bytes of [model, golden, manifest]) blobs.set(sha256(bytes), bytes);
  const target = {
    path: `models/host/${version}/manifest.json`,
    sizeBytes: manifest.length,
    sha256: sha256(manifest),
  };
  const agreed = agreedOrder(id, version, null);
  return { ...agreed, order: { ...agreed.order, ...(transfer ? { transfer } : {}) }, target };
}

let time: VirtualTime;
let disk: SimDisk;
let reports: UpdateReport[];
let messages: UpdateMessage[];
let served: number;
let runner: UpdateRunner;
/** Open from here on, virtual milliseconds, for an hour. */
let opensAt: number;
let metered: string | null;

function boot(policy: { metered?: 'allow' | 'defer'; urgent?: boolean; floor?: number } = {}): Promise<void> {
  const clock = time.clock(() => true);
  const start = time.wall - time.now;
  const windows = {
    at: (now: number) => {
      const from = start + opensAt;
      const open = now >= from && now < from + HOUR;
      return { open, changesAt: open ? from + HOUR : now < from ? from : from + 24 * HOUR };
    },
  };
  const gate: Gate = openGate({
    windows,
    link: { metered: () => metered },
    metered: policy.metered ?? 'allow',
    urgent: policy.urgent ?? true,
    clock,
    timeFloor: () => policy.floor ?? 0,
  });
  const source = {
    name: 'server',
    kind: 'server' as const,
    async *blob(hash: string, offset: number) {
      const bytes = blobs.get(hash)!;
      for (let at = offset; at < bytes.length; at += 100) {
        await time.wait(10_000);
        served += Math.min(100, bytes.length - at);
        yield bytes.subarray(at, at + 100);
      }
    },
  };
  const view = (): TrustedView => ({
    ...{ directorVersion: 1, orders, refused: [], ackKeys: [], refreshedMono: clock.mono(), refreshedAt: 0 },
  });
  const entropy = { bytes: (n: number) => new Uint8Array(n) };
  runner = new UpdateRunner({
    fetcher: { document: async () => undefined, blob: source.blob },
    supply: new BlobSupply({ sources: () => [source], clock, entropy, log: quiet }),
    gate,
    slots: simSlots(disk),
    trust: { view, spokenAgainst: () => ({ barred: [], releaseFloors: {} }), refresh: async () => view() },
    preflight: {
      run: async ({ variant }) => ({
        ...{ ok: true, code: null, detail: null, environment: false },
        loaded: variant.file.sha256,
        golden: { passed: 3, total: 3 },
      }),
    },
    runtime: {
      activate: async ({ variant }) => ({ loaded: variant.file.sha256 }),
      deactivate: async () => {},
      stats: () => ({ inferences: 50, errors: 0, notFinite: 0, p95LatencyUs: 500, p95AtLeastUs: 400 }),
    },
    store: simUpdateStore(disk),
    reports: { report: (report) => void reports.push(report) },
    ...{ clock, entropy, log: quiet },
    progress: (message) => messages.push(message),
  });
  return runner.start();
}

let orders: AgreedOrder[];
async function pass(ms: number): Promise<void> {
  await new Promise<void>((done) => setImmediate(done));
  const end = time.now + ms;
  time.after(ms, () => {});
  while (await time.step(end)) {}
}
const phase = () => runner.states()[0]?.phase;
const outcomes = () => reports.map(({ outcome }) => outcome);

beforeEach(() => {
  [time, disk, orders] = [new VirtualTime(), new SimDisk(), []];
  [reports, messages, served, opensAt, metered] = [[], [], 0, 0, null];
});

describe('outside a maintenance window', () => {
  it('nothing is fetched, and the operator reads when the window opens', async () => {
    opensAt = 3 * HOUR;
    orders = [publish('o-1', '1.0.0')];
    await boot();
    await runner.refresh();
    await pass(2 * HOUR);
    expect([served, phase()?.name, outcomes()]).toEqual([0, 'fetching', ['started']]);
    expect(messages.at(-1)?.waiting).toMatch(/^WINDOW_CLOSED: the next maintenance window opens 20/);
    await pass(2 * HOUR);
    expect(runner.active('host')?.version).toBe('1.0.0');
    expect(messages.at(-1)?.waiting).toBeUndefined();
  });

  it('a download pauses where it is and goes on in the next window, byte for byte', async () => {
    const agreed = publish('o-1', '1.0.0');
    orders = [agreed];
    await boot();
    opensAt = -HOUR + 130_000;
    await runner.refresh();
    await pass(4 * MINUTE);
    expect(phase()).toMatchObject({ name: 'downloading', attempt: 0, trouble: { code: 'WINDOW_CLOSED' } });
    const before = served;
    opensAt = 2 * HOUR;
    await pass(HOUR);
    expect(served).toBe(before);
    await pass(2 * HOUR);
    expect(runner.active('host')?.version).toBe('1.0.0');
    const whole = [...blobs.values()].reduce((sum, { length }) => sum + length, 0);
    // One piece was under way when the window closed.
    expect(served).toBeLessThanOrEqual(whole + 100);
  });

  it('what is ready is not activated, what is on trial is judged, and what is bad goes back', () => {
    const hold: Hold = { code: 'WINDOW_CLOSED', detail: 'opens later', forMs: 10 * HOUR };
    const view = { agreed: AGREED, refused: null, refreshedMono: 0, hold };
    const ready = stepUpdate(stateIn('ready'), { type: 'orders', view }, 0);
    expect(ready.state.phase).toMatchObject({ name: 'ready', trouble: { code: 'WINDOW_CLOSED' } });
    // Looked at again before that: the clock may be set.
    expect(ready.effects).toEqual([{ type: 'defer', order: 'o-new', afterMs: 5 * MINUTE }]);
    expect(stepUpdate(ready.state, { type: 'orders', view }, 0).state).toBe(ready.state);
    const open = stepUpdate(ready.state, { type: 'orders', view: { ...view, hold: undefined } }, 0);
    expect(open.state.phase).toMatchObject({ name: 'activating', starts: 1 });
    expect(open.state.phase).not.toHaveProperty('trouble');
    const trial = stateIn('probation');
    expect(stepUpdate(trial, { type: 'orders', view }, 0)).toEqual({ state: trial, effects: [] });
    const bad = { ...NO_STATS, inferences: 9, notFinite: 9 };
    const judged = stepUpdate(trial, { type: 'judged', order: 'o-new', stats: bad }, 999_500);
    expect(judged.state.phase.name).toBe('reverting');
  });

  it('an urgent order passes, unless the device was told to ignore that', async () => {
    opensAt = 30 * HOUR;
    metered = 'wwan0';
    orders = [publish('o-1', '1.0.0', { urgent: true })];
    await boot({ metered: 'defer' });
    await runner.refresh();
    await pass(HOUR);
    expect(runner.active('host')?.version).toBe('1.0.0');
    disk = new SimDisk();
    await boot({ urgent: false });
    await runner.refresh();
    await pass(HOUR);
    expect([runner.active('host'), phase()?.name]).toEqual([undefined, 'fetching']);
  });

  it('a withdrawn order ends, and a newer one takes its place', async () => {
    opensAt = 5 * HOUR;
    orders = [publish('o-1', '1.0.0')];
    await boot();
    await runner.refresh();
    await pass(MINUTE);
    orders = [publish('o-2', '1.1.0')];
    await runner.refresh();
    await pass(MINUTE);
    expect(reports.map(({ order, outcome, reason }) => [order, outcome, reason])).toEqual([
      ['o-1', 'started', null],
      ['o-1', 'cancelled', 'ORDER_SUPERSEDED'],
      ['o-2', 'started', null],
    ]);
    await pass(6 * HOUR);
    expect(runner.active('host')?.version).toBe('1.1.0');
  });

  it('a clock that is behind opens none', async () => {
    orders = [publish('o-1', '1.0.0')];
    await boot({ floor: Number.MAX_SAFE_INTEGER });
    await runner.refresh();
    await pass(10 * MINUTE);
    expect(phase()).toMatchObject({ trouble: { code: 'CLOCK_UNTRUSTED' } });
  });
});

describe('over a metered link', () => {
  it('a download waits for another link, and goes on as soon as there is one', async () => {
    opensAt = 0;
    metered = 'wwan0';
    orders = [publish('o-1', '1.0.0')];
    await boot({ metered: 'defer' });
    await runner.refresh();
    await pass(10 * MINUTE);
    expect(messages.at(-1)?.waiting).toBe(
      'LINK_METERED: wwan0 is metered, and downloads wait for another link',
    );
    metered = null;
    await pass(10 * MINUTE);
    expect(runner.active('host')?.version).toBe('1.0.0');
  });
});
