/**
 * What a worker costs: all of an inference there but the runtime's own work, beside a ping-pong of the same kind. That is
 * what one would write who knows the tricks: the bell and the answer are counters in shared memory, the worker sleeps in
 * Atomics.wait, the caller in Atomics.waitAsync, and nothing is said. Its worker is busy for as long as the model was,
 * because a caller that waits longer than a few µs falls asleep and its waking is most of the hop; an empty one is shown too.
 */
import { performance } from 'node:perf_hooks';
import { Worker } from 'node:worker_threads';
import { Engine } from '@skein/agent/inference/engine.ts';
import { OnnxBackend } from '@skein/agent/inference/onnx-backend.ts';
import { zeroInputs } from '@skein/agent/inference/tensors.ts';
import { systemClock } from '@skein/agent/system-clock.ts';
import type { StagedModel } from '@skein/agent/update/ports.ts';
import { rawSession } from '../../raw-session.ts';
import { inTurns, MICROSECONDS, median } from '../../timing.ts';
import type { Emit } from '../measurement.ts';

/** So many that both are compiled as they are on a device that runs for days. */
const ROUNDS = 10_000;

const EMPTY_WORKER = `
const { workerData } = require('node:worker_threads');
const counters = new Int32Array(workerData);
for (let rung = 0; ; rung++) {
  Atomics.wait(counters, 0, rung);
  if (counters[2] > 0) {
    const end = performance.now() + counters[2] / 1000;
    while (performance.now() < end);
  }
  Atomics.add(counters, 1, 1);
  Atomics.notify(counters, 1);
}`;

function pingPong() {
  const counters = new Int32Array(new SharedArrayBuffer(12));
  const worker = new Worker(EMPTY_WORKER, { eval: true, workerData: counters.buffer });
  let answers = 0;
  /** @returns microseconds beyond the time that its worker was told to be busy */
  const ping = async (busyUs: number): Promise<number> => {
    counters[2] = Math.round(busyUs);
    const started = performance.now();
    const answer = Atomics.waitAsync(counters, 1, answers++);
    Atomics.add(counters, 0, 1);
    Atomics.notify(counters, 0);
    if (answer.async) await answer.value;
    return (performance.now() - started) * MICROSECONDS - counters[2];
  };
  return { ping, close: () => worker.terminate() };
}

/** The host model by itself: it computes for as long as a ping-pong takes, so the hop shows. */
export async function hop(emit: Emit, { modelPath: path, variant, manifest }: StagedModel): Promise<void> {
  const { sha256, size: sizeBytes } = variant.file;
  const request = { path, sha256, sizeBytes, threads: 1, providers: ['cpu'] };
  const model = await new OnnxBackend({ placement: 'worker' }).load(request);
  const inputs = zeroInputs(manifest.inputs);
  const empty = pingPong();
  const equal = pingPong();
  const computeUs = () => model.computeMs! * MICROSECONDS;
  const there = async () => {
    const started = performance.now();
    await model.infer(inputs);
    return (performance.now() - started) * MICROSECONDS - computeUs();
  };
  const turns = [there, () => equal.ping(computeUs()), () => empty.ping(0)];
  const [cost, peer, bare] = (await inTurns(turns, ROUNDS)).map(median);
  await Promise.all([model.close(), empty.close(), equal.close()]);
  const said = { bench: 'inference', unit: 'µs', bar: null, holds: null };
  emit({ ...said, metric: 'empty ping-pong', value: bare! });
  emit({ ...said, metric: 'ping-pong around an equal wait', value: peer! });
  emit({
    ...said,
    metric: 'worker hop (all but the run itself)',
    value: cost!,
    bar: `≤ 1.2 × ${peer!.toFixed(1)} µs`,
    holds: cost! <= 1.2 * peer!,
  });
}

/** From the engine's `predict` to its answer, with a model of some hundred µs in a worker. */
export async function endToEnd(emit: Emit, staged: StagedModel, bytes: Uint8Array): Promise<void> {
  const engine = new Engine({ backend: new OnnxBackend({ placement: 'worker' }), clock: systemClock });
  await engine.activate(staged);
  const { name, inputs: specs } = staged.manifest;
  const inputs = zeroInputs(specs);
  const raw = await rawSession(bytes, inputs);
  const peer = pingPong();
  const [bare = 0] = (await inTurns([() => peer.ping(0)], 200)).map(median);
  // A caller that sleeps longer wakes more slowly, on a virtual machine three times beyond some 200 µs: so the peer's
  // caller waits as long as ours, and both after a run of this thread.
  let waitUs = 0;
  const there = async () => {
    const started = performance.now();
    await engine.predict(name, inputs);
    waitUs = (performance.now() - started) * MICROSECONDS;
    return waitUs;
  };
  const turns = [there, raw.run, () => peer.ping(Math.max(0, waitUs - bare)), raw.run];
  const [whole, alone, way] = (await inTurns(turns, ROUNDS / 10)).map(median);
  await Promise.all([engine.close(), raw.close(), peer.close()]);
  const limit = 1.1 * alone! + way!;
  const said = { bench: 'inference', unit: 'µs' };
  emit({ ...said, metric: `raw session.run, ${name}`, value: alone!, bar: null, holds: null });
  emit({ ...said, metric: 'ping-pong around as long a wait', value: way!, bar: null, holds: null });
  emit({
    ...said,
    metric: `${name} end to end, in a worker`,
    value: whole!,
    bar: `≤ ${Math.round(limit)} µs (1.1 × raw + hop)`,
    holds: whole! <= limit,
  });
}
