/**
 * `skein-model bench`: what a run costs, per provider, thread count and batch, in every place a model may run: the raw
 * `session.run`, inline and in the worker. The ways take turns every few milliseconds, so that a busy machine slows
 * all of them; memory is that of a process of its own, which holds nothing else.
 */
import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import { asSkeinError, SkeinError } from '@skein/protocol/errors.ts';
import type { Bytes, Millis } from '@skein/protocol/units.ts';
import type { Tensors } from '../inference/backend.ts';
import { OnnxBackend } from '../inference/onnx-backend.ts';
import { benchInputs } from './bench-inputs.ts';
import { hashOf } from './bundle.ts';
import { readAnyModel } from './disk-model.ts';
import { openModel } from './onnx-quantize.ts';
import { openRaw } from './onnx-raw.ts';

export interface BenchRow {
  way: 'raw session.run' | 'inline' | 'worker';
  provider: string;
  threads: number;
  batch: number;
  runs: number;
  p50Us: number;
  p95Us: number;
  p99Us: number;
  /** Samples, not runs, one after another. */
  samplesPerSecond: number;
}

export interface MemoryRow {
  batch: number;
  /** Of a process that holds the runtime and this model only, after some runs. */
  rssBytes: Bytes;
  peakBytes: Bytes;
  /** What loading and running added to it. */
  modelBytes: Bytes;
}

export interface BenchReport {
  rows: BenchRow[];
  memory: MemoryRow[];
  /** Combinations that could not be measured, with the reason. */
  left: string[];
}

export interface BenchOptions {
  /** For each way. */
  durationMs: Millis;
  threads: readonly number[];
  batches: readonly number[];
  providers: readonly string[];
  variant?: string | undefined;
  progress(done: number, total: number, what: string): void;
}

interface Way {
  name: BenchRow['way'];
  run(): Promise<unknown>;
  close(): Promise<void>;
  times: number[];
}

const TURN_MS: Millis = 5;
const WARM_UP_RUNS = 10;
const MEMORY_RUNS = 20;
const CHILD_LIMIT_MS: Millis = 120_000;

async function takeTurns(ways: readonly Way[], durationMs: Millis): Promise<void> {
  for (const way of ways) for (let i = 0; i < WARM_UP_RUNS; i++) await way.run();
  const end = performance.now() + durationMs * ways.length;
  while (performance.now() < end) {
    for (const way of ways) {
      const turn = performance.now() + TURN_MS;
      for (let now = performance.now(); now < turn; ) {
        await way.run();
        const after = performance.now();
        way.times.push((after - now) * 1000);
        now = after;
      }
    }
  }
}

function rowOf(way: Way, place: { provider: string; threads: number; batch: number }): BenchRow {
  const sorted = way.times.toSorted((a, b) => a - b);
  const total = way.times.reduce((sum, time) => sum + time, 0);
  const at = (q: number) =>
    Math.round(sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))]! * 10) / 10;
  return {
    way: way.name,
    ...place,
    runs: sorted.length,
    p50Us: at(0.5),
    p95Us: at(0.95),
    p99Us: at(0.99),
    samplesPerSecond: Math.round((sorted.length / total) * 1e6 * place.batch),
  };
}

interface ModelFile {
  path: string;
  bytes: Uint8Array;
}

/** A provider that is not there makes no way at all. @throws SkeinError MODEL_INVALID */
async function openWays(file: ModelFile, inputs: Tensors, provider: string, threads: number): Promise<Way[]> {
  const ways: Way[] = [];
  const request = {
    path: file.path,
    sha256: hashOf(file.bytes),
    sizeBytes: file.bytes.length,
    threads,
    backend: 'onnxruntime',
  };
  try {
    const raw = await openRaw(file.bytes, inputs, { provider, threads });
    ways.push({ name: 'raw session.run', run: () => raw.run(), close: () => raw.close(), times: [] });
    for (const placement of ['inline', 'worker'] as const) {
      const model = await new OnnxBackend({ placement }).load({ ...request, providers: [provider] });
      ways.push({ name: placement, run: () => model.infer(inputs), close: () => model.close(), times: [] });
    }
    return ways;
  } catch (error) {
    for (const way of ways) await way.close();
    throw error;
  }
}

function memoryOf(path: string, batch: number): Promise<MemoryRow> {
  const child = spawn(process.execPath, [fileURLToPath(new URL('./bench-child.ts', import.meta.url))], {
    stdio: ['pipe', 'pipe', 'ignore'],
    timeout: CHILD_LIMIT_MS,
    killSignal: 'SIGKILL',
    env: { PATH: process.env.PATH, LANG: 'C', NODE_NO_WARNINGS: '1' },
  });
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (part: string) => {
    text += part;
  });
  child.stdin.on('error', () => undefined).end(JSON.stringify({ path, batch, runs: MEMORY_RUNS }));
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => {
      if (code !== 0) {
        reject(
          new SkeinError('MODEL_CRASHED', `the process that weighs the model ended with ${signal ?? code}`),
        );
        return;
      }
      const { beforeBytes, rssBytes, peakBytes } = JSON.parse(text);
      resolve({ batch, rssBytes, peakBytes, modelBytes: rssBytes - beforeBytes });
    });
  });
}

async function measure(file: ModelFile, options: BenchOptions): Promise<BenchReport> {
  const { providers, threads, batches, durationMs, progress } = options;
  const report: BenchReport = { rows: [], memory: [], left: [] };
  const places = providers.flatMap((provider) =>
    threads.flatMap((count) => batches.map((batch) => ({ provider, threads: count, batch }))),
  );
  const session = await openModel(file.bytes);
  await session.close();
  const inputs = new Map(batches.map((batch) => [batch, benchInputs(session.inputs, batch)]));
  for (const [i, place] of places.entries()) {
    progress(i, places.length, `${place.provider}, ${place.threads} threads, batch ${place.batch}`);
    try {
      const ways = await openWays(file, inputs.get(place.batch)!, place.provider, place.threads);
      await takeTurns(ways, durationMs).finally(() => Promise.all(ways.map((way) => way.close())));
      report.rows.push(...ways.map((way) => rowOf(way, place)));
    } catch (thrown) {
      report.left.push(
        `${place.provider}, ${place.threads} threads, batch ${place.batch}: ${asSkeinError(thrown).message}`,
      );
    }
  }
  for (const batch of batches) report.memory.push(await memoryOf(file.path, batch));
  return report;
}

/** @throws SkeinError MODEL_INVALID, BUNDLE_*, TENSOR_INVALID for a batch that the model does not take */
export async function runBench(path: string, options: BenchOptions): Promise<BenchReport> {
  const bytes = await readAnyModel(path, options.variant);
  const directory = await mkdtemp(join(tmpdir(), 'skein-bench-'));
  try {
    const file = { path: join(directory, 'model.onnx'), bytes };
    await writeFile(file.path, bytes);
    return await measure(file, options);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
