import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { LoadedModel, LoadRequest, Tensors } from '@skein/agent/inference/backend.ts';
import { OnnxBackend } from '@skein/agent/inference/onnx-backend.ts';
import { OnnxWorkerSession } from '@skein/agent/inference/onnx-worker-session.ts';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { batchModels, scaleModel } from './models.ts';

const dir = mkdtempSync(join(tmpdir(), 'skein-onnx-'));
const open: LoadedModel[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((model) => model.close()));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

function requestFor(bytes: Uint8Array, name = 'model.onnx'): LoadRequest {
  const path = join(dir, name);
  writeFileSync(path, bytes);
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  return { path, sha256, sizeBytes: bytes.length, threads: 1, providers: ['cpu'], backend: 'onnxruntime' };
}
const row = (...values: number[]): Tensors => ({
  x: { type: 'float32', dims: [1, values.length], data: Float32Array.from(values) },
});
async function load(
  placement: 'inline' | 'worker' | 'auto',
  options: ConstructorParameters<typeof OnnxBackend>[0] = {},
) {
  const model = await new OnnxBackend({ placement, ...options }).load(requestFor(scaleModel(3, 2)));
  open.push(model);
  return model;
}

describe.each(['inline', 'worker'] as const)('a model placed %s', (placement) => {
  it('computes, and proves the hash of the bytes that it loaded', async () => {
    const model = await load(placement);
    expect(model.placement).toBe(placement);
    expect(model.sha256).toBe(
      createHash('sha256')
        .update(readFileSync(join(dir, 'model.onnx')))
        .digest('hex'),
    );
    const { y } = await model.infer(row(1, 2, 3));
    expect([...(y!.data as Float32Array)]).toEqual([2, 4, 6]);
    expect(y!.dims).toEqual([1, 3]);
  });

  it('follows a batch that grows and shrinks', async () => {
    const model = await load(placement);
    for (const rows of [1, 7, 300, 2, 300]) {
      const data = Float32Array.from({ length: rows * 3 }, (_, i) => i);
      const { y } = await model.infer({ x: { type: 'float32', dims: [rows, 3], data } });
      expect(y!.dims).toEqual([rows, 3]);
      expect((y!.data as Float32Array).at(-1)).toBe(2 * (rows * 3 - 1));
    }
  });

  it.each([
    ['a wrong name', { z: { type: 'float32', dims: [1, 3], data: new Float32Array(3) } }, '`x` is missing'],
    ['a wrong shape', { x: { type: 'float32', dims: [1, 4], data: new Float32Array(4) } }, '[?, 3]'],
    ['a wrong type', { x: { type: 'int32', dims: [1, 3], data: new Int32Array(3) } }, 'int32'],
    ['too few values', { x: { type: 'float32', dims: [1, 3], data: new Float32Array(2) } }, '2 values'],
    [
      'an input too many',
      { ...row(1, 2, 3), extra: { type: 'float32', dims: [1], data: new Float32Array(1) } },
      'no input `extra`',
    ],
  ])('refuses %s, naming it', async (_title, inputs, words) => {
    const model = await load(placement);
    await expect(model.infer(inputs as Tensors)).rejects.toMatchObject({
      code: 'TENSOR_INVALID',
      message: expect.stringContaining(words),
    });
    await expect(model.infer(row(1, 1, 1))).resolves.toBeDefined();
  });

  it('refuses a file that is not a model', async () => {
    const backend = new OnnxBackend({ placement });
    const garbage = requestFor(new TextEncoder().encode('not a model at all'), 'garbage.onnx');
    await expect(backend.load(garbage)).rejects.toMatchObject({ code: 'MODEL_INVALID' });
  });

  it('refuses a truncated model', async () => {
    const bytes = scaleModel(3, 2);
    const cut = requestFor(bytes.subarray(0, bytes.length - 20), 'cut.onnx');
    await expect(new OnnxBackend({ placement }).load(cut)).rejects.toMatchObject({ code: 'MODEL_INVALID' });
  });

  it('refuses a model with an operation that the runtime does not know, and names it', async () => {
    const request = requestFor(batchModels.unknownOp(), 'unknown-op.onnx');
    await expect(new OnnxBackend({ placement }).load(request)).rejects.toMatchObject({
      code: 'MODEL_INVALID',
      message: expect.stringContaining('NoSuchOperation'),
      fix: expect.stringContaining('skein-model inspect'),
    });
  });

  it('says when an inference needs more memory than there is, and goes on', async () => {
    const request = requestFor(batchModels.endless(), 'endless.onnx');
    const model = await new OnnxBackend({ placement }).load(request);
    open.push(model);
    for (let again = 0; again < 2; again++)
      await expect(model.infer(row(1, 2, 3, 4))).rejects.toMatchObject({ code: 'MODEL_MEMORY' });
  });

  it('refuses bytes that changed on disk since they were verified', async () => {
    const request = requestFor(scaleModel(3, 2), 'changed.onnx');
    writeFileSync(request.path, scaleModel(3, 5));
    await expect(new OnnxBackend({ placement }).load(request)).rejects.toMatchObject({
      code: 'BLOB_MISMATCH',
    });
  });

  it('falls back to the next provider and says why', async () => {
    const request = { ...requestFor(scaleModel(3, 2)), providers: ['no-such-provider', 'cpu'] };
    const model = await new OnnxBackend({ placement }).load(request);
    open.push(model);
    expect(model.provider).toBe('cpu');
    expect(model.reason).toContain('no-such-provider failed');
  });
});

describe('placement', () => {
  it('is inline when the measured warm-up is far below the budget, and says so', async () => {
    const model = await load('auto', { inlineBelowMs: 1_000 });
    expect(model.placement).toBe('inline');
    expect(model.reason).toMatch(/warm-up p99 [\d.]+ ms is below 1000 ms/);
  });

  it('is a worker when the model takes longer than the budget', async () => {
    const model = await load('auto', { inlineBelowMs: 0 });
    expect(model.placement).toBe('worker');
    expect(model.reason).toMatch(/worker: warm-up p99/);
  });
});

describe('a worker', () => {
  const workerUrl = new URL('../../../agent/src/inference/onnx-worker.ts', import.meta.url);

  it('that dies rejects what it held and is replaced at the next inference', async () => {
    const crashing = new URL('./crashing-worker.ts', import.meta.url);
    const backend = new OnnxBackend({ placement: 'worker', workerUrl: crashing });
    const model = await backend.load(requestFor(scaleModel(3, 2)));
    open.push(model);
    await expect(model.infer(row(666, 0, 0))).rejects.toMatchObject({ code: 'MODEL_CRASHED' });
    const { y } = await model.infer(row(1, 2, 3));
    expect([...(y!.data as Float32Array)]).toEqual([2, 4, 6]);
  });

  it('that dies again and again is left alone for a while', async () => {
    const crashing = new URL('./crashing-worker.ts', import.meta.url);
    const backend = new OnnxBackend({ placement: 'worker', workerUrl: crashing });
    const model = await backend.load(requestFor(scaleModel(3, 2)));
    open.push(model);
    for (let i = 0; i < 4; i++) {
      await expect(model.infer(row(666, 0, 0))).rejects.toMatchObject({ code: 'MODEL_CRASHED' });
    }
    await expect(model.infer(row(1, 2, 3))).rejects.toMatchObject({
      code: 'MODEL_CRASHED',
      message: expect.stringContaining('times in a row'),
    });
  });

  it('that hangs is ended after the time limit and the next inference works', async () => {
    const crashing = new URL('./crashing-worker.ts', import.meta.url);
    const backend = new OnnxBackend({ placement: 'worker', workerUrl: crashing });
    const model = await backend.load(requestFor(scaleModel(3, 2)));
    open.push(model);
    await expect(model.infer(row(777, 0, 0), 200)).rejects.toMatchObject({ code: 'MODEL_TIMEOUT' });
    await expect(model.infer(row(1, 2, 3))).resolves.toBeDefined();
  });

  it('closes only after the inference that it runs', async () => {
    const session = await OnnxWorkerSession.start(workerUrl, requestFor(scaleModel(3, 2)));
    const running = session.run(row(1, 2, 3), 5_000);
    await session.close();
    await expect(running).resolves.toBeDefined();
  });
});

const gas = new URL('../../../../shared/data/models/gas-v1.onnx', import.meta.url);
describe.skipIf(!existsSync(gas))('the gas model of ../shared/data (skipped without that folder)', () => {
  it('gives the same probabilities inline and in a worker', async () => {
    const request = requestFor(readFileSync(gas), 'gas.onnx');
    const inputs: Tensors = {
      x: { type: 'float32', dims: [1, 128], data: Float32Array.from({ length: 128 }, (_, i) => i * 10) },
    };
    const answers = [];
    for (const placement of ['inline', 'worker'] as const) {
      const model = await new OnnxBackend({ placement }).load(request);
      open.push(model);
      answers.push([...((await model.infer(inputs)).prob!.data as Float32Array)]);
    }
    expect(answers[0]).toEqual(answers[1]);
    expect(answers[0]!.reduce((a, b) => a + b, 0)).toBeCloseTo(1, 5);
  });
});
