/** Which health metric the fleet table shows: what this browser chose, else the first that devices report. */
import { signal } from '@preact/signals';
import { liveDevice } from '../data/live.ts';
import { isHealthMetric } from '../data/metric.ts';
import { deviceList } from '../data/store.ts';

const KEY = 'skein.health';
const FIRST = ['cpu', 'mem_available', 'temp_c', 'load_per_cpu', 'disk_free'];
const chosen = signal(localStorage.getItem(KEY) ?? '');

export function chooseHealth(metric: string): void {
  localStorage.setItem(KEY, metric);
  chosen.value = metric;
}

/** Names that any of the first devices reports, the usual ones first. */
export function healthMetrics(): string[] {
  const names = new Set<string>();
  for (const device of deviceList.value.slice(0, 20))
    for (const [name, value] of Object.entries(liveDevice(device.id).state.value ?? {}))
      if (typeof value === 'number' && isHealthMetric(name)) names.add(name);
  const rank = (name: string) => (FIRST.indexOf(name) + 1 || FIRST.length + 1) - 1;
  return [...names].sort((a, b) => rank(a) - rank(b) || a.localeCompare(b));
}

export const healthShown = (available: readonly string[]): string =>
  available.includes(chosen.value) ? chosen.value : (available[0] ?? 'cpu');
