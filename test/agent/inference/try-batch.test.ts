import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { LoadedModel } from '@skein/agent/inference/backend.ts';
import { OnnxBackend } from '@skein/agent/inference/onnx-backend.ts';
import { tryBatch } from '@skein/agent/inference/try-batch.ts';
import { systemClock } from '@skein/agent/system-clock.ts';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { batchModels, scaleModel } from './models.ts';

const dir = mkdtempSync(join(tmpdir(), 'skein-batch-'));
const open: LoadedModel[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((model) => model.close()));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

async function load(bytes: Uint8Array): Promise<LoadedModel> {
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  const path = join(dir, sha256);
  writeFileSync(path, bytes);
  const request = { path, sha256, sizeBytes: bytes.length, threads: 1, providers: ['cpu'] };
  const model = await new OnnxBackend({ placement: 'inline' }).load({ ...request, backend: 'onnxruntime' });
  open.push(model);
  return model;
}

describe('trying two rows together', () => {
  it('allows batches when a row’s answer does not depend on its neighbours', async () => {
    const batching = await tryBatch(await load(scaleModel(3, 2)), 32, { ...systemClock, mono: () => 0 });
    expect(batching).toEqual({ maxBatch: 32, reason: 'batches of up to 32' });
  });

  it.each([
    ['with a batch of one baked into a reshape', batchModels.baked(), 'two rows together failed'],
    ['that subtracts the mean of its batch', batchModels.meanOfBatch(), 'depends on the rows beside it'],
    [
      'whose dynamic quantization takes one range from all rows',
      batchModels.dynamicRange(),
      'depends on the rows beside it',
    ],
    ['with a fixed first dimension', batchModels.fixed(), 'free first dimension'],
  ])('refuses them for a graph %s, and says why', async (_title, bytes, reason) => {
    const batching = await tryBatch(await load(bytes), 32, systemClock);
    expect(batching).toEqual({ maxBatch: 1, reason: expect.stringContaining(reason) });
  });

  it('leaves off what was turned off', async () => {
    expect(await tryBatch(await load(scaleModel(3, 2)), 1, systemClock)).toEqual({
      maxBatch: 1,
      reason: 'no batching: as configured',
    });
  });

  /** Batching of a model whose nth run of so many rows takes so long. */
  async function batchingOf(runMs: (rows: number, run: number) => number) {
    const model = await load(scaleModel(3, 2));
    let now = 0;
    let runs = 0;
    const timed: LoadedModel = {
      ...model,
      infer: (inputs) => {
        now += runMs(inputs.x!.dims[0]!, runs++);
        return model.infer(inputs);
      },
    };
    return tryBatch(timed, 32, { ...systemClock, mono: () => now });
  }

  it('halves a batch that would hold the caller’s thread too long', async () => {
    const batching = await batchingOf((rows) => 0.3 * rows);
    expect(batching).toEqual({ maxBatch: 4, reason: 'batches of up to 4' });
  });

  it('does not take for the model’s own time what something else took in between', async () => {
    const batching = await batchingOf((_rows, run) => (run % 3 === 1 ? 5 : 0.1));
    expect(batching).toEqual({ maxBatch: 32, reason: 'batches of up to 32' });
  });
});
