/**
 * What sinks cost predictions when nobody takes anything from them: a webhook that never answers, a broker that is gone, a
 * command that never reads (its pipe full). Processor time of a prediction of the host model inline, with the three and
 * without any, in turns in one process (not time on the wall: others use this machine); and how much memory grows while
 * they are stuck.
 */

import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { openSinks } from '@skein/agent/cli/open-sinks.ts';
import { parseYaml } from '@skein/agent/cli/yaml-file.ts';
import { parseConfig } from '@skein/agent/config/parse.ts';
import { Engine } from '@skein/agent/inference/engine.ts';
import { OnnxBackend } from '@skein/agent/inference/onnx-backend.ts';
import { readBundle } from '@skein/agent/model/disk-bundle.ts';
import { createPipeline } from '@skein/agent/pipeline/run-pipeline.ts';
import { type RunningSinks, runSinks } from '@skein/agent/sinks/run-sinks.ts';
import { systemClock, systemEntropy } from '@skein/agent/system-clock.ts';
import { featurePreprocess } from '@skein/protocol/manifest-pipeline.ts';
import { median } from '../timing.ts';
import type { Emit } from './measurement.ts';

const BUNDLE = join(import.meta.dirname, '../../models/host/bundle');
const ROUNDS = 100;
const PER_ROUND = 200;
const SETTLE = 20_000;
const COST_US = 10;
const GROWTH_MIB = 16;

const silent = { info: () => {}, warn: () => {}, error: () => {} };

const AROUND = {
  clock: systemClock,
  log: silent,
  device: 'bench',
  incidents: { raise: () => {}, clear: () => {}, open: () => [] },
};

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

/** Without what is only waiting to be collected. */
function residentBytes(): number {
  collect();
  return process.memoryUsage().rss;
}

function stuckSinks(port: number): RunningSinks {
  const sinks = [
    { name: 'webhook', kind: 'webhook', url: `http://127.0.0.1:${port}/` },
    { name: 'broker', kind: 'mqtt', url: 'mqtt://127.0.0.1:1', topic: 'a/{model}' },
    { name: 'command', kind: 'command', command: 'exec sleep 600' },
  ];
  const { sinks: parsed } = parseConfig(parseYaml(JSON.stringify({ sinks }), 'bench'), {});
  const parts = { clock: systemClock, entropy: systemEntropy, boot: 'bench' };
  return runSinks(openSinks(parsed, undefined, parts), AROUND);
}

async function hostEngine() {
  const { manifest, manifestSha256 } = await readBundle(BUNDLE);
  const variant = manifest.variants[0]!;
  const pathOf = (sha: string) => join(BUNDLE, 'blobs', sha);
  const engine = new Engine({ backend: new OnnxBackend({ placement: 'inline' }), clock: systemClock });
  await engine.activate({
    manifest,
    manifestSha256,
    variant,
    modelPath: pathOf(variant.file.sha256),
    goldenPath: pathOf(manifest.golden.sha256),
  });
  return { engine, manifest };
}

export async function run(emit: Emit): Promise<void> {
  const never = createServer((socket) => socket.on('error', () => {}));
  await new Promise<void>((resolve) => never.listen(0, '127.0.0.1', resolve));
  const { engine, manifest } = await hostEngine();
  const sinks = stuckSinks((never.address() as AddressInfo).port);
  const none = runSinks([], AROUND);
  sinks.start();
  const { features } = featurePreprocess(manifest.preprocess);
  const values = Object.fromEntries(features.map((name) => [name, 0.5]));
  const pipelineTo = (to: RunningSinks) =>
    createPipeline({
      engine,
      model: manifest.name,
      boot: 'bench',
      onPrediction: ({ record, outcome }) => to.prediction(record, outcome),
      onDrift: () => {},
      onProblem: ({ message }) => {
        throw new Error(message);
      },
    });
  const [beside, alone] = [pipelineTo(sinks), pipelineTo(none)];
  /** Processor microseconds of one. */
  const predict = async (pipeline: typeof alone, count: number): Promise<number> => {
    const began = process.cpuUsage();
    for (let i = 0; i < count; i++)
      await pipeline.reading({ ts: Date.now(), mono: performance.now(), source: 'bench', values });
    const { user, system } = process.cpuUsage(began);
    return (user + system) / count;
  };
  await predict(alone, PER_ROUND);
  await predict(beside, SETTLE);
  const rss = residentBytes();
  const [withSinks, without]: [number[], number[]] = [[], []];
  for (let round = 0; round < ROUNDS; round++) {
    // Now one first, now the other: who comes second finds the caches as the other left them.
    if (round % 2 === 0) without.push(await predict(alone, PER_ROUND));
    withSinks.push(await predict(beside, PER_ROUND));
    if (round % 2 === 1) without.push(await predict(alone, PER_ROUND));
  }
  const growth = (residentBytes() - rss) / 2 ** 20;
  const cost = median(withSinks.map((each, round) => each - without[round]!));
  const say = (metric: string, value: number, unit: string, bar: string | null, holds: boolean | null) =>
    emit({ bench: 'sinks', metric, value, unit, bar, holds });
  say('a prediction without sinks', median(without), 'µs', null, null);
  say('beside 3 stuck sinks', median(withSinks), 'µs', null, null);
  say('what the 3 add', cost, 'µs', `≤ ${COST_US} µs`, cost <= COST_US);
  say('memory growth while stuck', growth, 'MiB', `≤ ${GROWTH_MIB}`, growth <= GROWTH_MIB);
  for (const { name, dropped, queued } of sinks.status())
    say(`${name}: dropped + waiting`, dropped + queued, '', `= ${SETTLE + ROUNDS * PER_ROUND}`, null);
  await sinks.stop();
  await engine.close();
  never.close();
}
