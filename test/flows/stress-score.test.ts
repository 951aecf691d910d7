import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { availableParallelism, freemem } from 'node:os';
import { join } from 'node:path';
import { Engine } from '@skein/agent/inference/engine.ts';
import { OnnxBackend } from '@skein/agent/inference/onnx-backend.ts';
import { readBundle } from '@skein/agent/model/disk-bundle.ts';
import { createPipeline, type PredictionEvent } from '@skein/agent/pipeline/run-pipeline.ts';
import { linuxHostSource } from '@skein/agent/sources/linux-host-source.ts';
import { systemClock } from '@skein/agent/system-clock.ts';
import { afterAll, describe, expect, it } from 'vitest';
import { median } from '../../scripts/timing.ts';

const BUNDLE = join(import.meta.dirname, '../../models/host/bundle');
const QUIET_READINGS = 6;
const STRESS_READINGS = 9;
/** Readings while the stress builds up are not counted. */
const RAMP_READINGS = 4;

const stress: ChildProcess[] = [];
const endStress = () => {
  for (const child of stress.splice(0)) child.kill('SIGKILL');
};
afterAll(endStress);

const program = (code: string): ChildProcess => {
  const child = spawn(process.execPath, ['-e', code], { stdio: ['ignore', 'pipe', 'ignore'] });
  stress.push(child);
  return child;
};

/** Memory that is really touched, and touched again; resolves when it is held. One process gets it at 200 MB/s at worst. */
async function hogMemory(): Promise<void> {
  const hogs = Math.max(2, availableParallelism());
  const pieces = Math.floor(Math.min(8 * 2 ** 30, freemem() / 3) / hogs / 2 ** 26);
  await Promise.all(Array.from({ length: hogs }, () => hogOf(pieces)));
}

async function hogOf(pieces: number): Promise<void> {
  const hog = program(`
    const held = Array.from({ length: ${pieces} }, () => Buffer.alloc(2 ** 26, 1));
    process.stdout.write('held');
    for (;;) held[Math.floor(Math.random() * held.length)].fill(Math.random() * 255);`);
  await once(hog.stdout!, 'data');
}

/** All processors busy twice over, and short-lived processes on top. */
function burnProcessors(): void {
  for (let i = 0; i < 2 * availableParallelism(); i++) program('for (;;) Math.sqrt(Math.random())');
  program(`const { spawnSync } = require('node:child_process'); for (;;) spawnSync('/bin/true')`);
}

describe('the host model on this machine', () => {
  it('scores a synthetic stress at more than twice the score before it', async () => {
    const { manifest, manifestSha256 } = await readBundle(BUNDLE);
    const engine = new Engine({ backend: new OnnxBackend(), clock: systemClock });
    const blob = (sha: string) => join(BUNDLE, 'blobs', sha);
    const variant = manifest.variants[0]!;
    expect(variant.precision).toBe('int8');
    await engine.activate({
      manifest,
      manifestSha256,
      variant,
      modelPath: blob(variant.file.sha256),
      goldenPath: blob(manifest.golden.sha256),
    });
    const scores: number[] = [];
    let waiting: { count: number; done: () => void } | undefined;
    const reached = (count: number) =>
      new Promise<void>((done) => {
        waiting = { count, done };
      });
    const pipeline = createPipeline({
      engine,
      model: manifest.name,
      boot: 'test',
      onPrediction: ({ record }: PredictionEvent) => {
        scores.push(record.score);
        if (waiting && scores.length >= waiting.count) waiting.done();
      },
      onDrift: () => undefined,
      onProblem: ({ message }) => expect.unreachable(message),
    });
    const source = linuxHostSource({ name: 'host', periodMs: 1_000, stallAfterMs: 10_000 }, systemClock);
    source.start({
      reading: (reading) => void pipeline.reading(reading),
      failed: (error) => expect.unreachable(error.message),
      ended: () => undefined,
    });
    await reached(QUIET_READINGS);
    await hogMemory();
    burnProcessors();
    const ramped = scores.length + RAMP_READINGS;
    await reached(ramped + STRESS_READINGS);
    endStress();
    await source.stop();
    await engine.close();
    const before = median(scores.slice(0, QUIET_READINGS));
    const during = median(scores.slice(ramped));
    console.log(`score: median ${before.toFixed(3)} before, ${during.toFixed(3)} under stress`);
    expect(during).toBeGreaterThan(2 * before);
    expect(pipeline.counts()).toMatchObject({ failures: 0, notFinite: 0 });
  });
});
