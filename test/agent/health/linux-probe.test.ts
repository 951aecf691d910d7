import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { jetson, raspberryPi } from '../../../agent/src/health/linux-board-probes.ts';
import { linuxProbe } from '../../../agent/src/health/linux-probe.ts';
import { systemClock } from '../../../agent/src/system-clock.ts';

const roots: string[] = [];
afterEach(() => {
  for (const root of roots.splice(0)) rmSync(root, { recursive: true, force: true });
});

function tree(files: Record<string, string>): string {
  const root = mkdtempSync(join(tmpdir(), 'skein-board-'));
  roots.push(root);
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
  return root;
}

const THROTTLED = 'sys/devices/platform/soc/soc:firmware/get_throttled';

describe('board probes', () => {
  it.each([
    ['0', { undervoltage: 0, throttled: 0 }],
    ['50005\n', { undervoltage: 1, throttled: 1 }],
    ['0x50000', { undervoltage: 0, throttled: 0 }],
    ['8', { undervoltage: 0, throttled: 1 }],
    ['nonsense', {}],
  ])('read a Raspberry Pi’s throttling mask %j', (mask, metrics) => {
    expect(raspberryPi(tree({ [THROTTLED]: mask }))).toEqual(metrics);
  });

  it('fall back to the Raspberry Pi’s voltage alarm', () => {
    const files = {
      'sys/class/hwmon/hwmon0/name': 'cpu_thermal\n',
      'sys/class/hwmon/hwmon1/name': 'rpi_volt\n',
      'sys/class/hwmon/hwmon1/in0_lcrit_alarm': '1\n',
    };
    expect(raspberryPi(tree(files))).toEqual({ undervoltage: 1 });
  });

  it('read a Jetson’s GPU load and input power', () => {
    const files = {
      'sys/devices/platform/gpu.0/load': '437\n',
      'sys/class/hwmon/hwmon3/name': 'ina3221\n',
      'sys/class/hwmon/hwmon3/in1_input': '5072\n',
      'sys/class/hwmon/hwmon3/curr1_input': '912\n',
    };
    expect(jetson(tree(files))).toEqual({ gpu: 0.437, power_w: expect.closeTo(4.6257, 3) });
  });

  it('say nothing on a machine that is neither', () => {
    const root = tree({ 'proc/stat': '' });
    expect({ ...raspberryPi(root), ...jetson(root) }).toEqual({});
  });
});

describe('the Linux probe', () => {
  it('samples this very machine in bounded values', async () => {
    const root = tree({});
    const probe = linuxProbe(root, systemClock);
    probe.sample();
    await new Promise((resolve) => setTimeout(resolve, 60));
    const metrics = probe.sample();
    probe.close();
    for (const share of ['cpu', 'mem_available', 'disk_free']) {
      expect(metrics[share], share).toBeGreaterThanOrEqual(0);
      expect(metrics[share], share).toBeLessThanOrEqual(1);
    }
    expect(metrics.rss_mb).toBeGreaterThan(10);
    expect(metrics.fds).toBeGreaterThan(2);
    expect(metrics.uptime_s).toBeGreaterThan(0);
    expect(Object.values(metrics).every(Number.isFinite)).toBe(true);
  });

  it('leaves out what a machine does not have', () => {
    const probe = linuxProbe('/nowhere/at/all', systemClock, tree({}));
    const metrics = probe.sample();
    probe.close();
    expect(metrics).not.toHaveProperty('cpu');
    expect(metrics).not.toHaveProperty('disk_free');
    expect(metrics).toHaveProperty('rss_mb');
  });
});
