/**
 * How late a timer of 1 ms fires while eight clients saturate a model of about 10 ms an inference: in a worker, and with
 * onnxruntime-node on the caller's thread as anybody would call it.
 */
import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { Engine } from '@skein/agent/inference/engine.ts';
import { OnnxBackend } from '@skein/agent/inference/onnx-backend.ts';
import { zeroInputs } from '@skein/agent/inference/tensors.ts';
import { systemClock } from '@skein/agent/system-clock.ts';
import { rawSession } from '../../raw-session.ts';
import { heavyModel, stage } from '../../staged-models.ts';
import { quantile, timerLags } from '../../timing.ts';
import type { Emit } from '../measurement.ts';

const CLIENTS = 8;
const FOR_MS = 6_000;
const TARGET_MS = 10;
const SPECS = (size: number) => [{ name: 'x', type: 'float32' as const, shape: [size, size] }];

/** As many layers as make about 10 ms here. */
async function tenMilliseconds(size: number): Promise<Uint8Array> {
  const one = heavyModel(size, 4, size);
  const raw = await rawSession(one, zeroInputs(SPECS(size)));
  const times: number[] = [];
  for (let i = 0; i < 20; i++) {
    const started = performance.now();
    await raw.run();
    times.push(performance.now() - started);
  }
  await raw.close();
  return heavyModel(size, Math.max(1, Math.round((4 * TARGET_MS) / Math.min(...times))), size);
}

/** Each asks again when it was answered. */
async function clients(ask: () => Promise<unknown>, forMs: number): Promise<number> {
  const end = performance.now() + forMs;
  let answered = 0;
  const client = async () => {
    while (performance.now() < end) {
      await ask();
      answered++;
    }
  };
  await Promise.all(Array.from({ length: CLIENTS }, client));
  return answered;
}

export async function loop(emit: Emit, directory: string): Promise<void> {
  const size = 256;
  const bytes = await tenMilliseconds(size);
  const specs = { inputs: SPECS(size), outputs: SPECS(size).map((spec) => ({ ...spec, name: 'y' })) };
  const staged = stage(directory, bytes, { name: 'heavy', version: '1.0.0', ...specs });
  const engine = new Engine({ backend: new OnnxBackend(), clock: systemClock });
  await engine.activate(staged);
  const inputs = zeroInputs(specs.inputs);
  const raw = await rawSession(bytes, inputs);
  const said = { bench: 'inference', bar: null, holds: null };
  const lagOf = async (work: () => Promise<unknown>) => quantile(await timerLags(work, FOR_MS), 0.999);
  const quiet = await lagOf(() => sleep(500));
  let answered = 0;
  const worker = await lagOf(async () => {
    answered += await clients(() => engine.predict('heavy', inputs), 1_000);
  });
  const inline = await lagOf(() => clients(raw.run, 1_000));
  const placement = engine.current('heavy')!.loaded.placement;
  await Promise.all([engine.close(), raw.close()]);
  emit({ ...said, metric: 'time of the saturated model', value: FOR_MS / answered, unit: 'ms' });
  emit({ ...said, metric: 'timer lag p99.9, nothing saturated', value: quiet, unit: 'ms' });
  emit({ ...said, metric: 'timer lag p99.9, raw onnxruntime-node', value: inline, unit: 'ms' });
  emit({
    ...said,
    metric: `timer lag p99.9, in a ${placement}`,
    value: worker,
    unit: 'ms',
    bar: '< 10 ms',
    holds: worker < 10,
  });
}
