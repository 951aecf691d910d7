import { type ChildProcess, spawn } from 'node:child_process';
import { availableParallelism, freemem } from 'node:os';
import { join } from 'node:path';
import { Engine } from '@skein/agent/inference/engine.ts';
import { OnnxBackend } from '@skein/agent/inference/onnx-backend.ts';
import { readBundle } from '@skein/agent/model/disk-bundle.ts';
import { createPipeline, type PredictionEvent } from '@skein/agent/pipeline/run-pipeline.ts';
import { linuxHostSource } from '@skein/agent/sources/linux-host-source.ts';
import { systemClock } from '@skein/agent/system-clock.ts';
import { afterAll, describe, expect, it } from 'vitest';

const BUNDLE = join(import.meta.dirname, '../../models/host/bundle');
const QUIET_READINGS = 10;
const STRESS_READINGS = 15;
/** Readings while the stress builds up are not counted. */
const RAMP_READINGS = 4;

const stress: ChildProcess[] = [];
const endStress = () => {
  for (const child of stress.splice(0)) child.kill('SIGKILL');
};
afterAll(endStress);

const program = (code: string) => stress.push(spawn(process.execPath, ['-e', code], { stdio: 'ignore' }));

/** Memory that is really touched, short-lived processes, and all processors busy twice over. */
function startStress(): void {
  const bytes = Math.floor(Math.min(8 * 2 ** 30, freemem() / 3));
  const pieces = Math.floor(bytes / 2 ** 26);
  program(`
    const held = [];
    for (;;) {
      if (held.length < ${pieces}) held.push(Buffer.alloc(2 ** 26, 1));
      else held[Math.floor(Math.random() * held.length)].fill(Math.random() * 255);
    }`);
  program(`const { spawnSync } = require('node:child_process'); for (;;) spawnSync('/bin/true')`);
  for (let i = 0; i < 2 * availableParallelism(); i++) program('for (;;) Math.sqrt(Math.random())');
}

const median = (values: number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1]!;

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
    startStress();
    await reached(QUIET_READINGS + RAMP_READINGS + STRESS_READINGS);
    endStress();
    await source.stop();
    await engine.close();
    const before = median(scores.slice(0, QUIET_READINGS));
    const during = median(scores.slice(QUIET_READINGS + RAMP_READINGS));
    console.log(`score: median ${before.toFixed(3)} before, ${during.toFixed(3)} under stress`);
    expect(during).toBeGreaterThan(2 * before);
    expect(pipeline.counts()).toMatchObject({ failures: 0, notFinite: 0 });
  });
});
