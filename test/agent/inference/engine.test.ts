import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Engine } from '@skein/agent/inference/engine.ts';
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

function engineWith(placement: 'inline' | 'worker', queueLimit = 64): Engine {
  const engine = new Engine({ backend: new OnnxBackend({ placement }), clock: systemClock, queueLimit });
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
    await Promise.all([engine.predict('scale', input), engine.predict('scale', input)]);
    const { maxBatch } = engine.current('scale')!;
    expect(maxBatch).toBeGreaterThan(1);
    expect(engine.statistics('scale')).toMatchObject({
      ...{ inference_count: 2, execution_count: 1, pending: 0 },
      inference_stats: { success: { count: 2 }, fail: { count: 0 } },
      batch_stats: [{ batch_size: 2, compute_infer: { count: 1 } }],
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
    expect(engine.stats('scale')).toEqual({ inferences: 0, notFinite: 0, errors: 0, p95LatencyUs: 0 });
  });

  it("does not hold a caller's bad tensor against the model", async () => {
    const engine = engineWith('inline');
    await engine.activate(staged(2));
    await expect(engine.predict('scale', {})).rejects.toMatchObject({ code: 'TENSOR_INVALID' });
    expect(engine.stats('scale').errors).toBe(0);
  });
});
