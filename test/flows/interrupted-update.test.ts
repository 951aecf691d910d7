/**
 * An update that is interrupted ends in a defined state that the operator can read: on the device (`skein-agent status`), in
 * its published `update` message, and in its reports. Real downloads over TLS, disk, update.db, preflight and runtime.
 */
import { type ChildProcess, execFileSync, fork } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MIB } from '@skein/protocol/units.ts';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { UpdateStatus } from '../../agent/src/api/status.ts';
import { endingText } from '../../agent/src/cli/tables.ts';
import { type Device, openDevice, type Published, publish } from '../../scripts/bench/download/device.ts';
import { newFleet, Origin } from '../../scripts/bench/download/fleet.ts';
import type { Fleet } from '../../scripts/bench/download/wire.ts';

const folder = mkdtempSync(join(tmpdir(), 'skein-interrupted-'));
const blobs = join(folder, 'blobs');
let fleet: Fleet;
let first: Published;
let second: Published;
let origin: Origin;
let directory: string;
const devices: Device[] = [];
const children: ChildProcess[] = [];
let count = 0;

beforeAll(async () => {
  fleet = await newFleet(join(folder, 'ca'));
  first = publish(blobs, 1, '1.0.0');
  second = publish(blobs, 2, '1.1.0');
  origin = await Origin.start({ fleet, directory: blobs, linkRate: 16 * MIB });
}, 30_000);
beforeEach(async () => {
  directory = join(folder, `device-${count++}`);
  await origin.tell({ type: 'reset' });
});
afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  for (const device of devices.splice(0)) await device.close();
});
afterAll(() => {
  origin.stop();
  rmSync(folder, { recursive: true, force: true });
});

const open = async (): Promise<Device> => {
  mkdirSync(directory, { recursive: true });
  const device = await openDevice(directory, origin.url, fleet);
  devices.push(device);
  return device;
};
const partOf = ({ model }: Published) => join(directory, 'models', `${model.sha256}.part`);
const begun = async (published: Published) =>
  expect
    .poll(() => statSync(partOf(published), { throwIfNoEntry: false })?.size ?? 0, {
      timeout: 10_000,
      interval: 5,
    })
    .toBeGreaterThan(MIB / 4);
const outcomes = (device: Device) =>
  device.reports.map(({ order, outcome, reason }) => [order, outcome, reason]);

describe('an update that is interrupted', () => {
  it('by an abort is cancelled, says so, and leaves nothing on the disk', async () => {
    const device = await open();
    await device.order([second.agreed]);
    await begun(second);
    expect(device.status()).toMatchObject({ phase: 'downloading', ordered: '1.1.0', waiting: null });
    await device.order([]);
    await expect.poll(() => outcomes(device).at(-1)).toEqual(['o-1.1.0', 'cancelled', 'ORDER_WITHDRAWN']);
    expect(device.status()).toMatchObject({
      phase: 'idle',
      last: { outcome: 'cancelled', version: '1.1.0' },
    });
    expect(device.messages.at(-1)).toMatchObject({ in_progress: 0, installed_version: null });
    expect(endingText(device.status()!)).toBe('big@1.1.0 ended cancelled: ORDER_WITHDRAWN (order o-1.1.0)');
    await expect.poll(() => readdirSync(join(directory, 'models'))).toEqual([]);
  });

  it('by a newer release gives way to it, and both endings are told', async () => {
    const device = await open();
    await device.order([second.agreed]);
    await begun(second);
    const { outcome } = await device.update(first.agreed);
    // The first report after the new order ends the old one.
    expect(outcome).toBe('cancelled');
    await expect
      .poll(() => outcomes(device).at(-1), { timeout: 20_000 })
      .toEqual(['o-1.0.0', 'committed', null]);
    expect(outcomes(device)).toContainEqual(['o-1.1.0', 'cancelled', 'ORDER_SUPERSEDED']);
    await expect.poll(() => device.status()).toMatchObject({ phase: 'idle', committed: '1.0.0' });
    expect(device.messages.at(-1)).toMatchObject({ installed_version: '1.0.0', in_progress: 0 });
    await expect.poll(() => existsSync(partOf(second))).toBe(false);
  });

  it('by a power cut is found where it was, and ends well without fetching what is there', async () => {
    mkdirSync(directory);
    const child = start();
    await begun(second);
    const gone = new Promise((done) => child.once('exit', done));
    child.kill('SIGKILL');
    await gone;
    await origin.tell({ type: 'reset' });
    const left = statSync(partOf(second)).size;
    const found: UpdateStatus[] = [];
    const again = start((said) => said.found && found.push(said.found));
    const last = await new Promise<Said>((done) => {
      let latest: Said = {};
      again.on('message', (said: Said) => {
        latest = said;
      });
      again.once('exit', () => done(latest));
    });
    expect(found[0]).toMatchObject({ phase: 'downloading', ordered: '1.1.0' });
    expect(last.status).toMatchObject({ phase: 'idle', committed: '1.1.0', last: { outcome: 'committed' } });
    expect(last.message).toMatchObject({ installed_version: '1.1.0', in_progress: 0 });
    const { bytes } = await origin.carried();
    expect(left).toBeGreaterThan(MIB / 4);
    // Only the rest of the model and the golden vectors, with their TLS and headers.
    expect(bytes).toBeLessThan(second.bytes - left + MIB / 4);
  });

  it('by a full disk waits, says for what, and goes on when there is room', async (test) => {
    mkdirSync(directory);
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=40m', 'tmpfs', directory], { stdio: 'ignore' });
    } catch {
      test.skip('needs the right to mount');
    }
    try {
      const filler = join(directory, 'filler');
      writeFileSync(filler, Buffer.alloc(18 * MIB));
      const device = await open();
      await device.order([second.agreed]);
      await expect
        .poll(() => device.status()?.waiting ?? '', { timeout: 10_000 })
        .toMatch(/^DISK_FULL: \d+ bytes to fetch/);
      expect(device.messages.at(-1)).toMatchObject({
        in_progress: 1,
        waiting: expect.stringMatching(/^DISK_FULL: /),
      });
      expect(device.status()).toMatchObject({ phase: 'downloading', ordered: '1.1.0' });
      unlinkSync(filler);
      await expect
        .poll(() => outcomes(device).at(-1), { timeout: 20_000 })
        .toEqual(['o-1.1.0', 'committed', null]);
      await expect
        .poll(() => device.messages.at(-1))
        .toMatchObject({ in_progress: 0, installed_version: '1.1.0' });
      expect(device.messages.at(-1)).not.toHaveProperty('waiting');
    } finally {
      for (const device of devices.splice(0)) await device.close();
      execFileSync('umount', ['--lazy', directory]);
    }
  });
});

interface Said {
  found?: UpdateStatus;
  status?: UpdateStatus;
  message?: Device['messages'][number];
}

function start(heard: (said: Said) => unknown = () => undefined): ChildProcess {
  const child = fork(join(import.meta.dirname, 'interrupted', 'device-process.ts'));
  children.push(child);
  child.on('message', (said: Said) => void heard(said));
  child.send({ directory, url: origin.url, fleet, agreed: second.agreed });
  return child;
}
