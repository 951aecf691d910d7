/**
 * What the installed agent takes of a small device: package and installed size for arm64 (the promise is made there),
 * memory of this machine's package with the host model after half a minute of predictions, and bytes written for them.
 */
import { readFileSync } from 'node:fs';
import { installAgent } from '../installed-agent.ts';
import { architectureOf } from '../release/architectures.ts';
import { sizesOf } from '../release/budgets.ts';
import { buildAndUnpack } from '../release/unpack.ts';
import type { Emit } from './measurement.ts';

const BENCH = 'footprint';
const MB = 1_000_000;
const MIB = 2 ** 20;
/** DESIGN, Budgets. */
const RSS_MB = 130;
const PRIVATE_DIRTY_MB = 60;
/** By then what is written once a start has been. */
const STARTED_MS = 10_000;
const SETTLED_MS = 30_000;

/** Of /proc/PID/smaps_rollup, in MB (10⁶ bytes). */
function memoryOf(pid: number, field: string): number {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  return (Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(text)?.[1]) * 1024) / MB;
}

const writtenBy = (pid: number): number =>
  Number(/^write_bytes: (\d+)$/m.exec(readFileSync(`/proc/${pid}/io`, 'utf8'))![1]);

async function sizes(emit: Emit): Promise<void> {
  const { built, remove } = await buildAndUnpack(architectureOf('arm64').deb, 'small');
  remove();
  for (const { what, bytes, limit, holds } of sizesOf(built)) {
    const bar = limit === null ? null : `≤ ${limit / MB} MB`;
    emit({ bench: BENCH, metric: `arm64 ${what}`, value: bytes / MB, unit: 'MB', bar, holds });
  }
}

async function memory(emit: Emit): Promise<void> {
  const installed = await installAgent((step) => process.stderr.write(`${step}\n`));
  try {
    const agent = await installed.start();
    await agent.predictedMs;
    await new Promise((wake) => setTimeout(wake, STARTED_MS));
    const before = writtenBy(agent.pid);
    await new Promise((wake) => setTimeout(wake, SETTLED_MS));
    const within = (metric: string, field: string, limit: number) => {
      const value = memoryOf(agent.pid, field);
      emit({ bench: BENCH, metric, value, unit: 'MB', bar: `≤ ${limit} MB`, holds: value <= limit });
    };
    within('RSS, idle with the host model', 'Rss', RSS_MB);
    within('private dirty', 'Private_Dirty', PRIVATE_DIRTY_MB);
    const perHour = ((writtenBy(agent.pid) - before) / MIB) * (3_600_000 / SETTLED_MS);
    const metric = 'written at 1 Hz, normal profile';
    emit({ bench: BENCH, metric, value: perHour, unit: 'MiB/h', bar: null, holds: null });
    await agent.stop();
  } finally {
    await installed.close();
  }
}

export async function run(emit: Emit): Promise<void> {
  await sizes(emit);
  await memory(emit);
}
