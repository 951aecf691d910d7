/**
 * Names of health metrics as agents report them → title, unit and a sensible scale. A metric nobody has described
 * is still shown: its name is its title and its suffix gives the unit.
 */
import { bytes, duration, figure, share } from './format.ts';

export interface Metric {
  name: string;
  title: string;
  format(value: number): string;
  /** Bounds the y axis always shows, so that idle does not look like a mountain. */
  floor?: number;
  ceiling?: number;
}

const fraction = { format: share, floor: 0, ceiling: 1 };
const size = { format: bytes, floor: 0 };
const millis = (value: number) => (value < 1000 ? `${figure(value)} ms` : duration(value));
const celsius = { format: (value: number) => `${value.toFixed(1)} °C`, floor: 20, ceiling: 60 };

const BY_SUFFIX: [RegExp, Omit<Metric, 'name' | 'title'>][] = [
  [/^score$/, { format: figure, floor: 0 }],
  [/(_c|_celsius)$/, celsius],
  [/(_bytes|_b)$/, size],
  [/_kb$/, { format: (value) => bytes(value * 1000), floor: 0 }],
  [/_mb$/, { format: (value) => bytes(value * 1e6), floor: 0 }],
  [/_(ms|millis)$/, { format: millis, floor: 0 }],
  [/_us$/, { format: (value) => millis(value / 1000), floor: 0 }],
  [/_(s|seconds)$/, { format: (value) => duration(value * 1000), floor: 0 }],
  [/_(percent|pct)$/, { format: (value) => `${figure(value)} %`, floor: 0, ceiling: 100 }],
  [/_w$/, { format: (value) => `${figure(value)} W`, floor: 0 }],
  [/(_share|_fraction|_ratio|_used|_busy|_available|_free)$|^(cpu|gpu|mem|disk|swap)$|^psi_/, fraction],
  [/^(load_per_cpu|fds|undervoltage|throttled)$/, { format: figure, floor: 0, ceiling: 1 }],
];

const TITLES: Record<string, string> = {
  cpu: 'Processor',
  gpu: 'Graphics processor',
  mem_available: 'Memory available',
  disk_free: 'Disk free',
  disk_free_mb: 'Disk free, size',
  temp_c: 'Temperature',
  load_per_cpu: 'Load per processor',
  rss_mb: 'Agent memory',
  fds: 'Agent open files',
  loop_p99_ms: 'Agent loop delay, p99',
};

const UNIT_WORDS = /_(c|w|bytes|kb|mb|ms|us|s|percent|pct|share|fraction|ratio)$/;

function titleOf(name: string): string {
  const words = name.replace(UNIT_WORDS, '').replaceAll('_', ' ');
  return words.charAt(0).toUpperCase() + words.slice(1);
}

export function metricOf(name: string): Metric {
  const shape = BY_SUFFIX.find(([pattern]) => pattern.test(name))?.[1] ?? { format: figure };
  return { name, title: TITLES[name] ?? titleOf(name), ...shape };
}

/** Of a state message: what is about the prediction, not about the machine. */
const ABOUT_PREDICTION = new Set(['score', 'alarm', 'latency_ms', 'model', 'version', 'label', 'ts']);
export const isHealthMetric = (name: string): boolean => !ABOUT_PREDICTION.has(name);
