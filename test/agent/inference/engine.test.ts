import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Engine, type EngineOptions } from '@skein/agent/inference/engine.ts';
import { OnnxBackend } from '@skein/agent/inference/onnx-backend.ts';
import { systemClock } from '@skein/agent/system-clock.ts';
import type { StagedModel } from '@skein/agent/update/ports.ts';
import type { Manifest } from '@skein/protocol/manifest.ts';
import { featurePreprocess } from '@skein/protocol/manifest-pipeline.ts';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { scaleModel } from './models.ts';

const dir = mkdtempSync(join(tmpdir(), 'skein-engine-'));
const engines: Engine[] = [];
afterEach(async () => {
  await Promise.all(engines.splice(0).map((engine) => engine.close()));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** Version n multiplies by n. */
function staged(factor: number, change: Partial<Manifest> = {}): StagedModel {
  const bytes = scaleModel(3, factor);
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  const path = join(dir, sha256);
  writeFileSync(path, bytes);
  const file = { sha256, size: bytes.length };
  const variant = {
    id: 'fp32',
    precision: 'fp32' as const,
    backend: 'onnxruntime',
    file,
    tolerance: 0,
    accuracy: null,
  };
  const manifest: Manifest = {
    format: 1,
    name: 'scale',
    version: `${Number.isFinite(factor) ? factor : 0}.0.0`,
    description: '',
    licence: 'Apache-2.0',
    inputs: [{ name: 'x', type: 'float32', shape: [-1, 3] }],
    outputs: [{ name: 'y', type: 'float32', shape: [-1, 3] }],
    preprocess: {
      kind: 'features',
      features: ['a', 'b', 'c'],
      window: { size: 1, stride: 1, padding: 'none' },
      onMissing: 'reject',
    },
    postprocess: { kind: 'regress', output: 'y', low: null, high: null },
    variants: [variant],
    golden: file,
    drift: null,
    needs: { memoryBytes: 0, tags: [] },
    quantization: null,
    lineage: { trainedFrom: [] },
    ...change,
  };
  return { manifest, manifestSha256: sha256, variant, modelPath: path, goldenPath: path };
}

function engineWith(
  placement: 'inline' | 'worker',
  options: Omit<EngineOptions, 'backend' | 'clock'> = {},
): Engine {
  const engine = new Engine({ backend: new OnnxBackend({ placement }), clock: systemClock, ...options });
  engines.push(engine);
  return engine;
}
const input = { x: { type: 'float32' as const, dims: [1, 3], data: Float32Array.of(1, 2, 3) } };

describe('the engine', () => {
  it('answers with the version and the hash of the bytes that computed it', async () => {
    const engine = engineWith('inline');
    const model = staged(2);
    expect(await engine.activate(model)).toEqual({ loaded: model.variant.file.sha256 });
    const prediction = await engine.predict('scale', input);
    expect(prediction).toMatchObject({ version: '2.0.0', sha256: model.variant.file.sha256, finite: true });
    expect([...(prediction.outputs.y!.data as Float32Array)]).toEqual([2, 4, 6]);
  });

  it('counts requests and runs, and forgets them with the version', async () => {
    const engine = engineWith('inline');
    await engine.activate(staged(2));
    await Promise.all([1, 2, 3].map(() => engine.predict('scale', input)));
    const { maxBatch } = engine.current('scale')!;
    expect(maxBatch).toBeGreaterThan(1);
    expect(engine.statistics('scale')).toMatchObject({
      ...{ inference_count: 3, execution_count: 2, pending: 0 },
      inference_stats: { success: { count: 3 }, fail: { count: 0 } },
      batch_stats: [
        { batch_size: 1, compute_infer: { count: 1 } },
        { batch_size: 2, compute_infer: { count: 1 } },
      ],
    });
    await engine.activate(staged(3));
    expect(engine.statistics('scale')).toMatchObject({ inference_count: 0 });
    expect(engine.statistics('other')).toBeUndefined();
  });

  it('has no answer for a model that is not active', async () => {
    await expect(engineWith('inline').predict('scale', input)).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });

  it.each(['inline', 'worker'] as const)(
    'swaps %s under load without dropping an inference or mislabelling an answer',
    async (placement) => {
      const engine = engineWith(placement);
      await engine.activate(staged(1));
      let running = true;
      let answered = 0;
      const wrong: string[] = [];
      const client = async () => {
        while (running) {
          const { outputs, version } = await engine.predict('scale', input);
          const factor = (outputs.y!.data as Float32Array)[0];
          if (version !== `${factor}.0.0`) wrong.push(`${version} gave ${factor}`);
          answered++;
        }
      };
      const clients = Array.from({ length: 8 }, client);
      const swaps = placement === 'inline' ? 20 : 6;
      for (let factor = 2; factor <= swaps; factor++) await engine.activate(staged(factor));
      running = false;
      await Promise.all(clients);
      expect(wrong).toEqual([]);
      expect(answered).toBeGreaterThan(swaps);
      const last = await engine.predict('scale', input);
      expect(last.version).toBe(`${swaps}.0.0`);
    },
  );

  it('goes on with the old model when the new one does not load', async () => {
    const engine = engineWith('inline');
    await engine.activate(staged(2));
    const broken = staged(3);
    writeFileSync(broken.modelPath, 'garbage');
    await expect(engine.activate(broken)).rejects.toMatchObject({ code: 'BLOB_MISMATCH' });
    expect(await engine.predict('scale', input)).toMatchObject({ version: '2.0.0' });
  });

  it('refuses a file that does not take what its manifest says', async () => {
    const engine = engineWith('inline');
    const lying = staged(2, { inputs: [{ name: 'z', type: 'float32', shape: [-1, 3] }] });
    await expect(engine.activate(lying)).rejects.toMatchObject({ code: 'MODEL_INVALID' });
  });

  it('refuses a manifest whose parts do not fit each other', async () => {
    const { manifest } = staged(2);
    const narrow = staged(2, {
      preprocess: { ...featurePreprocess(manifest.preprocess), features: ['a', 'b'] },
    });
    await expect(engineWith('inline').activate(narrow)).rejects.toMatchObject({
      code: 'MANIFEST_INVALID',
      message: expect.stringContaining('2 values'),
    });
  });

  it('answers a self-inference without counting it as proof', async () => {
    const engine = engineWith('inline');
    await engine.activate(staged(2));
    expect(Array.from((await engine.probe('scale', input)).outputs.y!.data as Float32Array)).toEqual([
      2, 4, 6,
    ]);
    await expect(engine.probe('other', input)).rejects.toMatchObject({ code: 'NOT_FOUND' });
    expect(engine.stats('scale')).toMatchObject({ inferences: 0, errors: 0 });
  });

  it('counts what probation judges by, from each activation anew', async () => {
    const engine = engineWith('inline');
    await engine.activate(staged(Number.NaN));
    for (let i = 0; i < 5; i++) {
      expect(await engine.predict('scale', input)).toMatchObject({ finite: false });
    }
    expect(engine.stats('scale')).toMatchObject({ inferences: 5, notFinite: 5, errors: 0 });
    expect(engine.stats('scale').p95LatencyUs).toBeGreaterThan(0);
    await engine.activate(staged(2));
    expect(engine.stats('scale')).toEqual({
      inferences: 0,
      notFinite: 0,
      errors: 0,
      p95LatencyUs: 0,
      p95AtLeastUs: 0,
    });
  });

  it("does not hold a caller's bad tensor against the model", async () => {
    const engine = engineWith('inline');
    await engine.activate(staged(2));
    await expect(engine.predict('scale', {})).rejects.toMatchObject({ code: 'TENSOR_INVALID' });
    expect(engine.stats('scale').errors).toBe(0);
  });

  it.each(['inline', 'worker'] as const)(
    'lets requests that came together share runs, %s',
    async (placement) => {
      const engine = engineWith(placement);
      await engine.activate(staged(2));
      const ask = (value: number) =>
        engine.predict('scale', { x: { ...input.x, data: Float32Array.of(value, 0, 0) } });
      const answers = await Promise.all(Array.from({ length: 40 }, (_, i) => ask(i)));
      expect(answers.map(({ outputs }) => (outputs.y!.data as Float32Array)[0])).toEqual(
        answers.map((_, i) => 2 * i),
      );
      const { inference_count, execution_count } = engine.statistics('scale')!;
      expect(inference_count).toBe(40);
      expect(execution_count).toBeLessThanOrEqual(3);
      expect(engine.current('scale')).toMatchObject({
        maxBatch: 32,
        loaded: { reason: expect.stringContaining('batches of up to 32') },
      });
    },
  );

  it('places, threads and batches one model as it is told, and the others as all', async () => {
    const own = { placement: 'worker' as const, maxBatch: 1 };
    const engine = engineWith('inline', { models: { scale: own } });
    await engine.activate(staged(2));
    await engine.activate(staged(3, { name: 'other' }));
    expect(engine.current('scale')).toMatchObject({
      loaded: { placement: 'worker', reason: expect.stringContaining('no batching: as configured') },
    });
    expect(engine.current('other')).toMatchObject({ maxBatch: 32, loaded: { placement: 'inline' } });
  });

  describe('given NaN by a client of the API', () => {
    const bad = { x: { ...input.x, data: Float32Array.of(1, Number.NaN, 3) } };
    const api = { priority: 'api' as const };

    it('refuses it unless told otherwise, names the input and counts', async () => {
      const engine = engineWith('inline');
      await engine.activate(staged(2));
      await expect(engine.predict('scale', bad, api)).rejects.toMatchObject({
        code: 'INPUT_NOT_FINITE',
        message: expect.stringContaining('`x`'),
      });
      expect(engine.statistics('scale')).toMatchObject({ inputsNotFinite: 1, execution_count: 0 });
    });

    it.each([
      ['pass', true],
      ['flag', false],
    ] as const)(
      'with policy %s computes, counts, and never blames the model',
      async (nonFinite, inputsFinite) => {
        const engine = engineWith('inline', { nonFinite });
        await engine.activate(staged(2));
        expect(await engine.predict('scale', bad, api)).toMatchObject({ finite: false, inputsFinite });
        expect(await engine.predict('scale', input, api)).toMatchObject({ finite: true, inputsFinite: true });
        expect(engine.statistics('scale')).toMatchObject({ inputsNotFinite: 1 });
        expect(engine.stats('scale')).toMatchObject({ inferences: 2, notFinite: 0, errors: 0 });
      },
    );
  });

  it('shows a challenger what the model answered, in a thread of its own, and never answers with it', async () => {
    const shadows = [{ model: 'scale', challenger: 'next', cpuBudget: 1 }];
    const engine = engineWith('inline', { shadows });
    await engine.activate(staged(2));
    await engine.activate(staged(3, { name: 'next' }));
    expect(engine.current('next')).toMatchObject({ loaded: { placement: 'worker' } });
    await expect
      .poll(async () => {
        const { version, outputs } = await engine.predict('scale', input);
        expect([version, (outputs.y!.data as Float32Array)[0]]).toEqual(['2.0.0', 2]);
        return engine.shadows()[0];
      })
      .toMatchObject({
        version: '2.0.0',
        challengerVersion: '3.0.0',
        compared: expect.any(Number),
        meanScoreDifference: 1,
        skipped: { absent: 0, unlike: 0, failed: 0 },
      });
    expect(engine.stats('next').inferences).toBeGreaterThan(0);
  });
});
