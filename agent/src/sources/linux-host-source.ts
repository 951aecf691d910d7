/** Reads /proc and /sys for the host source. About 0.2 ms a snapshot; the root is injectable for fixture trees. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Clock } from '@skein/protocol/ports.ts';
import { hostCounters } from './host-counters.ts';
import type { HostCounters } from './host-rates.ts';
import { type HostSourceOptions, hostSource } from './host-source.ts';
import type { Source } from './port.ts';

const textOf = (path: string): string => {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
};

/** Millidegrees of every thermal zone that answers; a zone that is asleep fails its read and is left out. */
export function readTemperatures(root = '/'): number[] {
  const zones = join(root, 'sys/class/thermal');
  try {
    return readdirSync(zones)
      .filter((name) => name.startsWith('thermal_zone'))
      .map((name) => Number.parseInt(textOf(join(zones, name, 'temp')), 10))
      .filter(Number.isFinite);
  } catch {
    return [];
  }
}

/**
 * @param root `/`, or a directory with `proc` and `sys` below it.
 * @param monoMs monotonic milliseconds now.
 * @throws Error when `proc/stat` cannot be read: without it there is nothing to say.
 */
export function readHostCounters(root: string, monoMs: number): HostCounters {
  const proc = (name: string) => textOf(join(root, 'proc', name));
  return hostCounters(
    {
      stat: readFileSync(join(root, 'proc/stat'), 'utf8'),
      meminfo: proc('meminfo'),
      loadavg: proc('loadavg'),
      vmstat: proc('vmstat'),
      diskstats: proc('diskstats'),
      netDev: proc('net/dev'),
      pressureCpu: proc('pressure/cpu'),
      pressureMemory: proc('pressure/memory'),
      pressureIo: proc('pressure/io'),
      temperatures: readTemperatures(root),
    },
    monoMs,
  );
}

export const linuxHostSource = (options: HostSourceOptions, clock: Clock, root = '/'): Source =>
  hostSource(options, clock, () => readHostCounters(root, clock.mono()));
