/** The child of the benchmark `swap`: prints a measurement a line. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises';
import { Engine } from '@skein/agent/inference/engine.ts';
import { OnnxBackend } from '@skein/agent/inference/onnx-backend.ts';
import { systemClock } from '@skein/agent/system-clock.ts';
import { heavyModel, stage } from '../../staged-models.ts';
import { median } from '../../timing.ts';
import type { Emit } from '../measurement.ts';

const SWAPS = 200;
const WARM_SWAPS = 5;
const CLIENTS = 8;
const WIDTH = 128;
const VERSIONS = 8;

const spec = (name: string) => ({ name, type: 'float32' as const, shape: [-1, WIDTH] });
const inputs = { x: { type: 'float32' as const, dims: [1, WIDTH], data: new Float32Array(WIDTH).fill(1) } };

interface Tally {
  answered: number;
  failed: number;
  wrong: number;
}

function saturate(engine: Engine, tally: Tally) {
  let running = true;
  const client = async () => {
    while (running) {
      try {
        const { outputs, version } = await engine.predict('swapped', inputs);
        tally.answered++;
        if (version !== `${Math.round((outputs.y!.data as Float32Array)[0]!)}.0.0`) tally.wrong++;
      } catch {
        tally.failed++;
        await turn();
      }
    }
  };
  const clients = Promise.all(Array.from({ length: CLIENTS }, client));
  return async () => {
    running = false;
    await clients;
  };
}

/** MiB while the model is saturated and nothing is swapped: what was replaced has been closed by then. */
async function restingMb(): Promise<number> {
  await sleep(1_500);
  const samples: number[] = [];
  for (let i = 0; i < 9; i++) {
    samples.push(process.memoryUsage().rss / 2 ** 20);
    await sleep(100);
  }
  return median(samples);
}

async function swaps(emit: Emit, placement: 'inline' | 'worker', directory: string): Promise<void> {
  const engine = new Engine({ backend: new OnnxBackend({ placement }), clock: systemClock });
  const versions = Array.from({ length: VERSIONS }, (_, i) =>
    stage(directory, heavyModel(WIDTH, 2, -1, i + 1), {
      ...{ name: 'swapped', version: `${i + 1}.0.0`, inputs: [spec('x')], outputs: [spec('y')] },
    }),
  );
  const swap = (n: number) => engine.activate(versions[n % VERSIONS]!);
  await swap(0);
  const tally = { answered: 0, failed: 0, wrong: 0 };
  const stop = saturate(engine, tally);
  for (let n = 1; n <= WARM_SWAPS; n++) await swap(n);
  const before = await restingMb();
  const times: number[] = [];
  for (let n = 1; n <= SWAPS; n++) {
    const started = performance.now();
    await swap(WARM_SWAPS + n);
    times.push(performance.now() - started);
  }
  const grown = ((await restingMb()) / before - 1) * 100;
  await stop();
  await engine.close();
  const said = { bench: 'swap', bar: null, holds: null };
  emit({ ...said, metric: `swaps, ${placement}`, value: SWAPS, unit: '' });
  emit({ ...said, metric: `time of a swap, ${placement}`, value: median(times), unit: 'ms' });
  emit({ ...said, metric: `requests answered, ${placement}`, value: tally.answered, unit: '' });
  const none = (metric: string, value: number) =>
    emit({ ...said, metric, value, unit: '', bar: '= 0', holds: value === 0 });
  none(`requests failed, ${placement}`, tally.failed);
  none(`answers of another version, ${placement}`, tally.wrong);
  const memory = { metric: `memory grown, ${placement}`, value: grown, unit: '%' };
  emit({ ...said, ...memory, bar: `≤ 10% of ${before.toFixed(0)} MiB`, holds: grown <= 10 });
}

const emit: Emit = (measurement) => void process.stdout.write(`${JSON.stringify(measurement)}\n`);
const directory = mkdtempSync(join(tmpdir(), 'skein-swap-'));
try {
  await swaps(emit, 'inline', directory);
  await swaps(emit, 'worker', directory);
} finally {
  rmSync(directory, { recursive: true, force: true });
}
