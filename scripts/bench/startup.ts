/**
 * From starting the installed agent's process to its first prediction, with a model committed before and a reading
 * waiting: what a device that lost its power is blind for. Beside it an empty Node of the same package, in turns, because a
 * busy machine slows both. The first start fills the cache of compiled code and is not counted.
 */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { type InstalledAgent, installAgent, untilPredicted } from '../installed-agent.ts';
import type { Emit } from './measurement.ts';

const ROUNDS = 9;
const BAR_MS = 300;

const median = (values: number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1]!;

const emptyNode = (root: string): Promise<number> =>
  new Promise((resolve, reject) => {
    const started = performance.now();
    const child = spawn(join(root, 'usr/lib/skein-agent/bin/node'), ['-e', '0'], { stdio: 'ignore' });
    child.once('error', reject);
    child.once('exit', () => resolve(performance.now() - started));
  });

interface Start {
  readyMs: number;
  predictedMs: number;
}

async function startOnce(installed: InstalledAgent): Promise<Start> {
  const started = performance.now();
  const agent = await installed.start();
  const readyMs = performance.now() - started;
  await untilPredicted(agent.api);
  const predictedMs = performance.now() - started;
  await agent.stop();
  return { readyMs, predictedMs };
}

export async function run(emit: Emit): Promise<void> {
  const installed = await installAgent((step) => process.stderr.write(`${step}\n`));
  try {
    await startOnce(installed);
    const starts: Start[] = [];
    const empty: number[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      empty.push(await emptyNode(installed.root));
      starts.push(await startOnce(installed));
    }
    const observed = (metric: string, value: number, unit = 'ms') =>
      emit({ bench: 'startup', metric, value, unit, bar: null, holds: null });
    const predicted = median(starts.map(({ predictedMs }) => predictedMs));
    observed('empty Node process', median(empty));
    observed('ready: last good model loaded', median(starts.map(({ readyMs }) => readyMs)));
    emit({
      bench: 'startup',
      metric: 'first prediction',
      value: predicted,
      unit: 'ms',
      bar: `≤ ${BAR_MS} ms`,
      holds: predicted <= BAR_MS,
    });
    observed('first prediction / empty Node', predicted / median(empty), '×');
  } finally {
    await installed.close();
  }
}
