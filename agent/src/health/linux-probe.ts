/** Samples /proc, /sys, statfs(2) and this process: about 0.3 ms. The root is injectable for fixture trees. */
import { readdirSync, readFileSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { Clock } from '@skein/protocol/ports.ts';
import { MIB } from '@skein/protocol/units.ts';
import { NO_TEMPERATURE } from '../sources/host-counters.ts';
import { type HostCounters, hostRates } from '../sources/host-rates.ts';
import { readHostCounters } from '../sources/linux-host-source.ts';
import { readBoard } from './linux-board-probes.ts';
import type { Metrics, Probe } from './probe.ts';
import { atResolution } from './resolution.ts';

const NANOSECONDS_PER_MS = 1e6;

/** Every reading that fails leaves its metrics out. */
const attempt = (read: () => Metrics): Metrics => {
  try {
    return read();
  } catch {
    return {};
  }
};

export function linuxProbe(stateDir: string, clock: Clock, root = '/'): Probe {
  const delay = monitorEventLoopDelay({ resolution: 20 });
  delay.enable();
  let before: HostCounters | undefined;

  const machine = (): Metrics => {
    const after = readHostCounters(root, clock.mono());
    const cpu = before ? hostRates(before, after).cpu_busy! : Number.NaN;
    before = after;
    return {
      cpu,
      mem_available: after.mem_available_kb / after.mem_total_kb,
      load_per_cpu: after.load1 / after.cpus,
      temp_c: after.temp_c > NO_TEMPERATURE ? after.temp_c : Number.NaN,
    };
  };
  const disk = (): Metrics => {
    const { bavail, blocks, bsize } = statfsSync(stateDir);
    return { disk_free: bavail / blocks, disk_free_mb: (bavail * bsize) / MIB };
  };
  const agent = (): Metrics => ({
    rss_mb: process.memoryUsage.rss() / MIB,
    fds: readdirSync('/proc/self/fd').length,
    loop_p99_ms: delay.percentile(99) / NANOSECONDS_PER_MS,
  });
  const uptime = (): Metrics => ({
    uptime_s: Number.parseFloat(readFileSync(join(root, 'proc/uptime'), 'utf8')),
  });

  return {
    sample() {
      const metrics = [machine, disk, agent, uptime, () => readBoard(root)].map(attempt);
      delay.reset();
      return atResolution(Object.assign({}, ...metrics));
    },
    close: () => delay.disable(),
  };
}
