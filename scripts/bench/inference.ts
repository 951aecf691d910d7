/**
 * What the pipeline adds to the raw runtime, on the host model: everything but `session.run` must stay within 1 µs a
 * feature + 20 µs a reading, drift included; the hop to a worker within 1.2 × a ping-pong of the same kind (bell in
 * shared memory, answer by message) whose worker is busy for as long as the model, because a caller that waits longer
 * than a few µs falls asleep and its waking is most of the hop. The empty ping-pong is shown beside it.
 * Medians; both sides of a comparison run in turns in one process.
 */
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { Worker } from 'node:worker_threads';
import type { Backend, LoadedModel } from '@skein/agent/inference/backend.ts';
import { Engine } from '@skein/agent/inference/engine.ts';
import { OnnxBackend } from '@skein/agent/inference/onnx-backend.ts';
import { readBundle } from '@skein/agent/model/disk-bundle.ts';
import { openModel } from '@skein/agent/model/onnx-quantize.ts';
import { inputTensors } from '@skein/agent/pipeline/preprocess.ts';
import { createPipeline } from '@skein/agent/pipeline/run-pipeline.ts';
import { systemClock } from '@skein/agent/system-clock.ts';
import { featurePreprocess } from '@skein/protocol/manifest-pipeline.ts';
import { readRecording } from '../train/recording.ts';
import type { Emit } from './measurement.ts';

const HOST = join(import.meta.dirname, '../../models/host');
const READINGS = 2_000;
const MICROSECONDS = 1_000;

const median = (values: number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1]!;

async function timed(task: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await task();
  return (performance.now() - started) * MICROSECONDS;
}

/** Both in turns, so that a busy machine slows both. */
async function medians(tasks: (() => Promise<unknown>)[], rounds: number): Promise<number[]> {
  const times = tasks.map(() => [] as number[]);
  for (let round = 0; round < rounds + 200; round++) {
    for (const [i, task] of tasks.entries()) {
      const took = await timed(task);
      if (round >= 200) times[i]!.push(took);
    }
  }
  return times.map(median);
}

async function hostModel() {
  const bundlePath = join(HOST, 'bundle');
  const { manifest, manifestSha256, blobs } = await readBundle(bundlePath);
  const variant = manifest.variants[0]!;
  const pathOf = (sha: string) => join(bundlePath, 'blobs', sha);
  const staged = {
    manifest,
    manifestSha256,
    variant,
    modelPath: pathOf(variant.file.sha256),
    goldenPath: pathOf(manifest.golden.sha256),
  };
  return { manifest, staged, bytes: blobs.get(variant.file.sha256)! };
}

/** Answers like the real one with the same tensors each time: what is left is everything around `session.run`. */
const instantBackend = (real: LoadedModel, answer: Awaited<ReturnType<LoadedModel['infer']>>): Backend => ({
  name: 'instant',
  load: async () => ({
    ...real,
    placement: 'inline',
    infer: async () => answer,
    close: async () => undefined,
  }),
});

async function overhead(emit: Emit): Promise<void> {
  const { manifest, staged, bytes } = await hostModel();
  const { features, window } = featurePreprocess(manifest.preprocess);
  const readings = readRecording(join(HOST, 'recording.csv.gz'))
    .flat()
    .slice(0, READINGS)
    .map((row, i) => ({
      ts: i,
      mono: i,
      source: 'host',
      values: Object.fromEntries(features.map((name, c) => [name, row[c]!])),
    }));
  const raw = await openModel(bytes);
  const input = inputTensors(manifest, new Float32Array(window.size * features.length));
  const answer = await raw.run(input);
  const real: LoadedModel = {
    sha256: staged.variant.file.sha256,
    provider: raw.provider,
    placement: 'inline',
    reason: '',
    inputs: raw.inputs,
    outputs: raw.outputs,
    infer: async () => answer,
    close: async () => undefined,
  };
  const engine = new Engine({ backend: instantBackend(real, answer), clock: systemClock });
  await engine.activate(staged);
  let predictions = 0;
  const pipeline = createPipeline({
    engine,
    model: manifest.name,
    boot: 'bench',
    onPrediction: () => predictions++,
    onDrift: () => undefined,
    onProblem: ({ message }) => {
      throw new Error(message);
    },
  });
  let next = 0;
  const [around, alone] = await medians(
    [() => pipeline.reading(readings[next++ % readings.length]!), () => raw.run(input)],
    READINGS,
  );
  await raw.close();
  await engine.close();
  const limit = features.length + 20;
  emit({ bench: 'inference', metric: 'raw session.run', value: alone!, unit: 'µs', bar: null, holds: null });
  emit({
    bench: 'inference',
    metric: 'pipeline beyond the raw run',
    value: around!,
    unit: 'µs',
    bar: `≤ ${limit} µs (1 a feature + 20)`,
    holds: around! <= limit,
  });
  emit({
    bench: 'inference',
    metric: 'predictions made',
    value: predictions,
    unit: '',
    bar: null,
    holds: null,
  });
}

const EMPTY_WORKER = `
const { parentPort, workerData } = require('node:worker_threads');
const bell = new Int32Array(workerData);
for (let rung = 0; ; rung++) {
  Atomics.wait(bell, 0, rung);
  const end = performance.now() + bell[1] / 1000;
  while (performance.now() < end);
  parentPort.postMessage({ kind: 'same' });
}`;

/** @param busyUs the worker computes for so long: then the caller's thread falls asleep as it does for a model. */
function pingPong(busyUs: number) {
  const bell = new Int32Array(new SharedArrayBuffer(8));
  bell[1] = Math.round(busyUs);
  const worker = new Worker(EMPTY_WORKER, { eval: true, workerData: bell.buffer });
  let answered: () => void = () => undefined;
  worker.on('message', () => answered());
  const ping = () =>
    new Promise<void>((resolve) => {
      answered = resolve;
      Atomics.add(bell, 0, 1);
      Atomics.notify(bell, 0);
    });
  return { ping, close: () => worker.terminate() };
}

/** The worker's whole way less the run itself. */
async function hop(emit: Emit): Promise<void> {
  const { manifest, staged, bytes } = await hostModel();
  const { features, window } = featurePreprocess(manifest.preprocess);
  const input = inputTensors(manifest, new Float32Array(window.size * features.length));
  const request = {
    path: staged.modelPath,
    sha256: staged.variant.file.sha256,
    sizeBytes: staged.variant.file.size,
    threads: 1,
    providers: ['cpu'],
    backend: 'onnxruntime',
  };
  const model = await new OnnxBackend({ placement: 'worker' }).load(request);
  const raw = await openModel(bytes);
  const [alone] = await medians([() => raw.run(input)], READINGS);
  const empty = pingPong(0);
  const equal = pingPong(alone!);
  const [worker, again, bare, waited] = await medians(
    [() => model.infer(input), () => raw.run(input), empty.ping, equal.ping],
    READINGS,
  );
  await Promise.all([model.close(), raw.close(), empty.close(), equal.close()]);
  const cost = worker! - again!;
  const peer = waited! - alone!;
  const figure = (metric: string, value: number) =>
    emit({ bench: 'inference', metric, value, unit: 'µs', bar: null, holds: null });
  figure('empty ping-pong', bare!);
  figure('ping-pong around an equal wait', peer);
  emit({
    bench: 'inference',
    metric: 'worker hop (infer − raw run)',
    value: cost,
    unit: 'µs',
    bar: `≤ 1.2 × ${peer.toFixed(1)} µs`,
    holds: cost <= 1.2 * peer,
  });
}

export async function run(emit: Emit): Promise<void> {
  await overhead(emit);
  await hop(emit);
}
