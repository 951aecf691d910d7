import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { HOST_FEATURES } from '../../../agent/src/sources/host-rates.ts';
import { hostSource } from '../../../agent/src/sources/host-source.ts';
import {
  linuxHostSource,
  readHostCounters,
  readTemperatures,
} from '../../../agent/src/sources/linux-host-source.ts';
import type { Reading } from '../../../agent/src/sources/port.ts';
import { systemClock } from '../../../agent/src/system-clock.ts';
import { manualClock } from '../manual-clock.ts';

const roots: string[] = [];
afterEach(() => {
  for (const root of roots.splice(0)) rmSync(root, { recursive: true, force: true });
});

const FILES: Record<string, string> = {
  'proc/stat': `cpu  100 2 30 4000 5 6 7 8 0 0
cpu0 50 1 15 2000 2 3 3 4 0 0
cpu1 50 1 15 2000 3 3 4 4 0 0
intr 123456 1 2 3
ctxt 654321
btime 1700000000
processes 4242
procs_running 3
procs_blocked 1
`,
  'proc/meminfo':
    'MemTotal:        1000000 kB\nMemFree:  1 kB\nMemAvailable:     400000 kB\nCached:           200000 kB\nDirty: 12 kB\nAnonPages: 300000 kB\nSlab: 9 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n',
  'proc/loadavg': '1.50 0.70 0.20 2/345 9999\n',
  'proc/vmstat': 'pgfault 777\npgmajfault 8\n',
  'proc/diskstats':
    '   8       0 sda 10 0 80 1 20 0 160 2 0 33 3\n   8       1 sda1 9 0 70 1 19 0 150 2 0 30 3\n 179       0 mmcblk0 1 0 8 1 2 0 16 2 0 3 3\n   7       0 loop0 5 0 5 5 5 5 5 5 5 5 5\n',
  'proc/net/dev':
    'Inter-|   Receive                                                |  Transmit\n face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n    lo:  1000      10    0    0    0     0          0         0     1000      10    0    0    0     0       0          0\n  eth0:  5000      50    0    0    0     0          0         0     7000      70    0    0    0     0       0          0\n wlan0:    11       1    0    0    0     0          0         0       13       2    0    0    0     0       0          0\n',
  'proc/pressure/cpu': 'some avg10=0.00 avg60=0.00 avg300=0.00 total=2861800\n',
  'sys/class/thermal/thermal_zone0/temp': '51200\n',
  'sys/class/thermal/thermal_zone1/temp': '48000\n',
  'sys/class/thermal/cooling_device0/cur_state': '0\n',
};

function tree(files: Record<string, string>): string {
  const root = mkdtempSync(join(tmpdir(), 'skein-host-'));
  roots.push(root);
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
  return root;
}

describe('reading host counters', () => {
  it('sums whole disks and wire interfaces, and takes the hottest zone', () => {
    const counters = readHostCounters(tree(FILES), 1000);
    expect(counters).toMatchObject({
      mono_ms: 1000,
      cpu_user: 100,
      cpu_steal: 8,
      cpus: 2,
      intr: 123456,
      ctxt: 654321,
      procs_running: 3,
      load1: 1.5,
      tasks: 345,
      mem_total_kb: 1_000_000,
      mem_available_kb: 400_000,
      psi_cpu_some_us: 2_861_800,
      psi_io_some_us: 0,
      disk_reads: 11,
      disk_write_sectors: 176,
      disk_io_ms: 36,
      net_rx_bytes: 5011,
      net_tx_packets: 72,
      lo_rx_bytes: 1000,
      pgmajfault: 8,
      temp_c: 51.2,
    });
  });

  it('says that a machine without thermal zones has none', () => {
    const {
      'sys/class/thermal/thermal_zone0/temp': _a,
      'sys/class/thermal/thermal_zone1/temp': _b,
      ...rest
    } = FILES;
    const root = tree(rest);
    expect(readTemperatures(root)).toEqual([]);
    expect(readHostCounters(root, 0).temp_c).toBe(-273);
  });

  it('fails when the kernel shows no processor counters', () => {
    expect(() => readHostCounters(tree({ 'proc/meminfo': '' }), 0)).toThrow(/proc\/stat/);
  });
});

describe('the host source', () => {
  const start = (clock = manualClock(), read = () => readHostCounters(tree(FILES), clock.mono())) => {
    const readings: Reading[] = [];
    const errors: Error[] = [];
    const source = hostSource({ name: 'host', periodMs: 1000, stallAfterMs: 10_000 }, clock, read);
    source.start({ reading: (r) => readings.push(r), failed: (e) => errors.push(e), ended: () => {} });
    return { clock, source, readings, errors };
  };

  it('delivers the first reading a quarter second after it started and then every second without drift', async () => {
    const { clock, readings, source } = start();
    await clock.advance(10_249);
    expect(readings.map((r) => r.mono)).toEqual([250, 1250, 2250, 3250, 4250, 5250, 6250, 7250, 8250, 9250]);
    await source.stop();
    await clock.advance(5_000);
    expect(readings).toHaveLength(10);
    expect(clock.pendingTimers()).toBe(0);
  });

  it('gives every feature of the host model', async () => {
    const { clock, readings } = start();
    await clock.advance(300);
    expect(Object.keys(readings[0]!.values)).toEqual([...HOST_FEATURES, 'temp_c']);
  });

  it('reports a snapshot that failed and goes on with the next', async () => {
    const clock = manualClock();
    const root = tree(FILES);
    let broken = false;
    const { readings, errors } = start(clock, () => {
      if (broken) throw new Error('gone');
      return readHostCounters(root, clock.mono());
    });
    broken = true;
    await clock.advance(260);
    broken = false;
    await clock.advance(1000);
    expect(errors.map((e) => e.message)).toEqual(['gone']);
    expect(readings).toHaveLength(1);
  });

  it.runIf(existsSync('/proc/stat'))('reads this very machine', async () => {
    const reading = await new Promise<Reading>((resolve, reject) => {
      const source = linuxHostSource({ name: 'host', periodMs: 1000, stallAfterMs: 10_000 }, systemClock);
      source.start({
        reading: (r) => void source.stop().then(() => resolve(r)),
        failed: reject,
        ended: () => {},
      });
    });
    expect(reading.values.mem_used).toBeGreaterThan(0);
    expect(reading.values.mem_used).toBeLessThan(1);
    expect(reading.values.cpu_busy).toBeGreaterThanOrEqual(0);
    expect(reading.values.cpu_busy).toBeLessThanOrEqual(1);
  });
});
