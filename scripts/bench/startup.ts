/**
 * From starting the installed agent's process to its first prediction, with a model committed before and a reading
 * waiting: what a device that lost its power is blind for. Beside it an empty Node of the same package, and one that only
 * loads onnxruntime and runs the same model once, in turns, because a busy machine slows all of them. The first start fills
 * the cache of compiled code and is not counted.
 */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Manifest } from '@skein/protocol/manifest.ts';
import { type InstalledAgent, installAgent } from '../installed-agent.ts';
import { median } from '../timing.ts';
import type { Emit } from './measurement.ts';

const BUNDLE = join(import.meta.dirname, '../../models/host/bundle');
const { variants } = JSON.parse(readFileSync(join(BUNDLE, 'manifest.json'), 'utf8')) as Manifest;
const MODEL = join(BUNDLE, 'blobs', variants[0]!.file.sha256);
const ROUNDS = 9;
const BAR_MS = 300;

/** The least there is: no configuration, no database, no trust, no reading. */
const BARE = `
const { InferenceSession, Tensor } = require('onnxruntime-node');
const session = InferenceSession.create(process.argv[1], { intraOpNumThreads: 1, interOpNumThreads: 1 });
session.then((s) => s.run({ window: new Tensor('float32', new Float32Array(155), [1, 155]) })).then(() => process.exit(0));`;

/** Until the package's own Node ends. */
const node = (root: string, args: string[]): Promise<number> =>
  new Promise((resolve, reject) => {
    const started = performance.now();
    const child = spawn(join(root, 'usr/lib/skein-agent/bin/node'), args, {
      stdio: ['ignore', 'ignore', 'inherit'],
      cwd: import.meta.dirname,
    });
    child.once('error', reject);
    child.once('exit', (code) =>
      code === 0 ? resolve(performance.now() - started) : reject(new Error(`node ended with ${code}`)),
    );
  });

interface Start {
  readyMs: number;
  predictedMs: number;
}

async function startOnce(installed: InstalledAgent, compiled?: boolean): Promise<Start> {
  const started = performance.now();
  const agent = await installed.start(compiled);
  const readyMs = performance.now() - started;
  const predictedMs = await agent.predictedMs;
  await agent.stop();
  return { readyMs, predictedMs };
}

export async function run(emit: Emit): Promise<void> {
  const installed = await installAgent((step) => process.stderr.write(`${step}\n`));
  try {
    await startOnce(installed);
    const starts: Start[] = [];
    const empty: number[] = [];
    const bare: number[] = [];
    const uncompiled: Start[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      empty.push(await node(installed.root, ['-e', '0']));
      bare.push(await node(installed.root, ['-e', BARE, MODEL]));
      starts.push(await startOnce(installed));
      uncompiled.push(await startOnce(installed, false));
    }
    const observed = (metric: string, value: number, unit = 'ms') =>
      emit({ bench: 'startup', metric, value, unit, bar: null, holds: null });
    const predicted = median(starts.map(({ predictedMs }) => predictedMs));
    observed('empty Node process', median(empty));
    observed('bare Node: load onnxruntime, run the model', median(bare));
    observed('ready: the local API answers too', median(starts.map(({ readyMs }) => readyMs)));
    emit({
      bench: 'startup',
      metric: 'first prediction',
      value: predicted,
      unit: 'ms',
      bar: `≤ ${BAR_MS} ms`,
      holds: predicted <= BAR_MS,
    });
    observed('first prediction / bare Node', predicted / median(bare), '×');
    observed(
      'first prediction, nothing kept of what was compiled',
      median(uncompiled.map((each) => each.predictedMs)),
    );
  } finally {
    await installed.close();
  }
}
