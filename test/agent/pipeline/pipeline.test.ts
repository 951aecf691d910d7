import type { ChartVerdict } from '@skein/agent/drift/verdicts.ts';
import type { Backend, Tensors } from '@skein/agent/inference/backend.ts';
import { Engine } from '@skein/agent/inference/engine.ts';
import { postprocess, softmax } from '@skein/agent/pipeline/postprocess.ts';
import { missingIn, rowOf, scaleRow } from '@skein/agent/pipeline/preprocess.ts';
import {
  createPipeline,
  type PipelineProblem,
  type PredictionEvent,
} from '@skein/agent/pipeline/run-pipeline.ts';
import { RowWindow } from '@skein/agent/pipeline/window.ts';
import { makeProfile } from '@skein/protocol/drift/profile.ts';
import type { FeaturePreprocess, Manifest, Preprocess } from '@skein/protocol/manifest.ts';
import type { DriftRecord } from '@skein/protocol/records.ts';
import { describe, expect, it } from 'vitest';

const row = (...values: number[]) => Float32Array.from(values);

describe('a window', () => {
  it('with edge padding starts at the first reading, repeating it', () => {
    const window = new RowWindow({ size: 3, stride: 1, padding: 'edge' });
    expect([...window.push(row(1, 2))!]).toEqual([1, 2, 1, 2, 1, 2]);
    expect([...window.push(row(3, 4))!]).toEqual([1, 2, 1, 2, 3, 4]);
  });

  it('without padding waits until it is full', () => {
    const window = new RowWindow({ size: 2, stride: 1, padding: 'none' });
    expect(window.push(row(1))).toBeUndefined();
    expect([...window.push(row(2))!]).toEqual([1, 2]);
    expect([...window.push(row(3))!]).toEqual([2, 3]);
  });

  it('with a stride skips readings between predictions', () => {
    const window = new RowWindow({ size: 2, stride: 3, padding: 'none' });
    const out = [1, 2, 3, 4, 5, 6, 7, 8].map((value) => window.push(row(value)));
    expect(out.map((flat) => flat && [...flat])).toEqual([
      undefined,
      [1, 2],
      undefined,
      undefined,
      [4, 5],
      undefined,
      undefined,
      [7, 8],
    ]);
  });
});

describe('a window over a hole in time', () => {
  const fed = (padding: 'none' | 'edge', maxGapMs: number, times: number[], stride = 1) => {
    const window = new RowWindow({ size: 2, stride, padding, maxGapMs });
    return times.map((at) => window.push(row(at), at)).map((flat) => flat && [...flat]);
  };

  it('starts anew after a longer pause, with its own edge', () => {
    expect(fed('none', 10, [0, 10, 21, 25])).toEqual([undefined, [0, 10], undefined, [21, 25]]);
    expect(fed('edge', 10, [0, 10, 21, 25])).toEqual([
      [0, 0],
      [0, 10],
      [21, 21],
      [21, 25],
    ]);
  });

  it('counts its stride anew, too', () => {
    expect(fed('edge', 10, [0, 1, 2, 50, 51], 3)).toEqual([
      [0, 0],
      undefined,
      undefined,
      [50, 50],
      undefined,
    ]);
  });

  it('is not started anew by a pause when the manifest sets no limit', () => {
    const window = new RowWindow({ size: 2, stride: 1, padding: 'none' });
    window.push(row(0), 0);
    expect([...window.push(row(1), 1e12)!]).toEqual([0, 1]);
  });
});

const preprocess: FeaturePreprocess = {
  kind: 'features',
  features: ['a', 'b'],
  scaling: { offset: [10, 0], scale: [2, 0.5], clip: 4 },
  window: { size: 1, stride: 1, padding: 'none' },
  onMissing: 'reject',
};

describe('preprocessing', () => {
  it('takes features by name, in the order of the manifest, and ignores others', () => {
    expect([...rowOf(['a', 'b'], { b: 2, c: 3, a: 1 })]).toEqual([1, 2]);
  });

  it.each([
    ['absent', {}],
    ['NaN', { a: Number.NaN }],
    ['infinite', { a: Number.POSITIVE_INFINITY }],
    ['minus infinite', { a: Number.NEGATIVE_INFINITY }],
    ['beyond float32', { a: 1e300 }],
    ['below float32', { a: -3.5e38 }],
    ['text', { a: 'x' }],
  ])('counts a feature that is %s as missing', (_what, values) => {
    expect(missingIn(rowOf(['a'], values as Record<string, number>))).toEqual([0]);
  });

  it('scales, clips, and puts the offset where a value is missing', () => {
    expect([...scaleRow(preprocess, Float64Array.of(12, 0.5))]).toEqual([1, 1]);
    expect([...scaleRow(preprocess, Float64Array.of(1e9, -1e9))]).toEqual([4, -4]);
    expect([...scaleRow(preprocess, Float64Array.of(Number.NaN, 0))]).toEqual([0, 0]);
  });
});

const outputs = (...values: number[]): Tensors => ({
  y: { type: 'float32', dims: [1, values.length], data: Float32Array.from(values) },
});

describe('postprocessing', () => {
  const classify = {
    kind: 'classify' as const,
    output: 'y',
    softmax: true,
    labels: ['calm', 'fire'],
    alarmLabels: ['fire'],
  };

  it('names the most likely class, its probability and whether it is an alarm', () => {
    const outcome = postprocess(classify, outputs(1, 3), row());
    expect(outcome).toMatchObject({ label: 'fire', alarm: 1 });
    expect(outcome.score).toBeCloseTo(1 / (1 + Math.exp(-2)), 6);
    expect(outcome.charts).toEqual({ confidence: outcome.score, 'output:label': 1 });
  });

  it('ranks classes when the manifest asks for more than one, equal ones in their order', () => {
    const post = { ...classify, softmax: false, labels: ['a', 'b', 'c', 'd'], topK: 3 };
    const { top, label } = postprocess(post, outputs(0.25, 0.5, 0.25, 0), row());
    expect(label).toBe('b');
    expect(top).toEqual([
      { label: 'b', score: 0.5 },
      { label: 'a', score: 0.25 },
      { label: 'c', score: 0.25 },
    ]);
    expect(postprocess({ ...post, topK: 16 }, outputs(1, 2), row()).top).toHaveLength(2);
  });

  it('calls a class below the threshold unknown, which is no alarm', () => {
    const post = { ...classify, softmax: false, threshold: 0.6 };
    expect(postprocess(post, outputs(0.4, 0.59), row())).toMatchObject({ label: 'unknown', alarm: 0 });
    expect(postprocess({ ...post, threshold: 0.5 }, outputs(0.4, 0.6), row())).toMatchObject({
      label: 'fire',
      alarm: 1,
    });
    const named = { ...post, unknownLabel: '?' };
    expect(postprocess(named, outputs(0.1, 0.2), row())).toMatchObject({ label: '?', alarm: 0 });
  });

  it('reads outputs of float16 and int64', () => {
    const half = {
      y: { type: 'float16' as const, dims: [1, 3], data: Uint16Array.of(0xbc00, 0x3800, 0x0001) },
    };
    const post = { kind: 'regress' as const, output: 'y', low: 0, high: null };
    expect(postprocess(post, half, row())).toMatchObject({ score: -1, label: 'low' });
    expect(postprocess({ ...classify, softmax: false, labels: ['a', 'b', 'c'] }, half, row())).toMatchObject({
      ...{ label: 'b', score: 0.5 },
    });
    const long = { y: { type: 'int64' as const, dims: [1], data: BigInt64Array.of(-7n) } };
    expect(postprocess({ kind: 'raw', output: 'y' }, long, row())).toMatchObject({ label: 'raw', score: -7 });
  });

  it('does not overflow on large logits', () => {
    expect([...softmax([1e4, 1e4])]).toEqual([0.5, 0.5]);
  });

  it('scores a reconstruction by its mean squared error in units', () => {
    const post = { kind: 'reconstruction' as const, output: 'y', unit: 2, threshold: 1 };
    expect(postprocess(post, outputs(1, 3), row(1, 1))).toMatchObject({
      score: 1,
      alarm: 1,
      label: 'unusual',
    });
    expect(postprocess(post, outputs(1, 1), row(1, 1))).toMatchObject({
      score: 0,
      alarm: 0,
      label: 'normal',
    });
  });

  it('refuses a reconstruction of another size', () => {
    const post = { kind: 'reconstruction' as const, output: 'y', unit: 2, threshold: 1 };
    expect(() => postprocess(post, outputs(1), row(1, 1))).toThrow(/1 values, not 2/);
  });

  it('alarms on a regression outside its limits', () => {
    const post = { kind: 'regress' as const, output: 'y', low: 0, high: 10 };
    expect(postprocess(post, outputs(-1), row())).toMatchObject({ label: 'low', alarm: 1 });
    expect(postprocess(post, outputs(5), row())).toMatchObject({ label: 'normal', alarm: 0 });
    expect(postprocess(post, outputs(11), row())).toMatchObject({ label: 'high', alarm: 1 });
  });

  it('says which output is not there', () => {
    expect(() => postprocess({ ...classify, output: 'z' }, outputs(1), row())).toThrow(/no output `z`/);
  });
});

/** Adds `bias`, or behaves badly on purpose. */
const addingBackend = (bias: number, failure?: Error): Backend => ({
  name: 'adding',
  async load({ sha256 }) {
    const spec = [{ name: 'x', type: 'float32' as const, shape: [-1, 2] }];
    return {
      sha256,
      provider: 'test',
      placement: 'inline',
      reason: '',
      inputs: spec,
      outputs: [{ ...spec[0]!, name: 'y' }],
      async infer({ x }) {
        if (failure) throw failure;
        const data = (x!.data as Float32Array).map((value) => value + bias);
        return { y: { type: 'float32', dims: x!.dims, data } };
      },
      async close() {},
    };
  },
});

const hash = 'a'.repeat(64);
const manifestWith = (change: Partial<Manifest> = {}): Manifest => ({
  format: 1,
  name: 'm',
  version: '1.0.0',
  description: '',
  licence: 'Apache-2.0',
  inputs: [{ name: 'x', type: 'float32', shape: [-1, 2] }],
  outputs: [{ name: 'y', type: 'float32', shape: [-1, 2] }],
  preprocess: { ...preprocess, scaling: undefined } as Preprocess,
  postprocess: { kind: 'reconstruction', output: 'y', unit: 1, threshold: 1 },
  variants: [
    {
      id: 'fp32',
      precision: 'fp32',
      backend: 'onnxruntime',
      file: { sha256: hash, size: 1 },
      tolerance: 0,
      accuracy: null,
    },
  ],
  golden: { sha256: hash, size: 1 },
  drift: null,
  needs: { memoryBytes: 0, tags: [] },
  quantization: null,
  lineage: { trainedFrom: [] },
  ...change,
});

async function pipelineOf(manifest: Manifest, backend = addingBackend(0)) {
  let mono = 0;
  const clock = { now: () => 0, mono: () => mono++, after: () => ({ cancel() {} }) };
  const engine = new Engine({ backend, clock });
  const activate = (of: Manifest) =>
    engine.activate({
      manifest: of,
      manifestSha256: hash,
      variant: of.variants[0]!,
      modelPath: '',
      goldenPath: '',
    });
  await activate(manifest);
  const predictions: PredictionEvent[] = [];
  const drifts: DriftRecord[] = [];
  const beside: (ChartVerdict | undefined)[] = [];
  const problems: PipelineProblem[] = [];
  const pipeline = createPipeline({
    engine,
    model: 'm',
    boot: 'b',
    onPrediction: (event) => predictions.push(event),
    onDrift: (record, former) => {
      drifts.push(record);
      beside.push(former);
    },
    onProblem: (problem) => problems.push(problem),
  });
  const feed = (values: Record<string, number>, ts = 5) =>
    pipeline.reading({ ts, mono: ts, source: 's', values });
  return { pipeline, predictions, drifts, beside, problems, feed, activate, engine };
}

describe('the pipeline', () => {
  it('turns a reading into a prediction record that carries its stamps', async () => {
    const { feed, predictions } = await pipelineOf(manifestWith(), addingBackend(2));
    await feed({ a: 1, b: 2 }, 77);
    expect(predictions[0]!.record).toMatchObject({
      ts: 77,
      boot: 'b',
      source: 's',
      model: 'm',
      version: '1.0.0',
      label: 'unusual',
      score: 4,
      alarm: 1,
    });
  });

  it.each([
    ['reject', 0, 1],
    ['flag', 1, 1],
    ['fill', 1, 0],
  ] as const)(
    'with the policy %s makes %i predictions and reports %i problems of a NaN',
    async (policy, made, told) => {
      const manifest = manifestWith();
      const { feed, predictions, problems, pipeline } = await pipelineOf({
        ...manifest,
        preprocess: { ...preprocess, scaling: undefined, onMissing: policy } as Preprocess,
      });
      await feed({ a: Number.NaN, b: 2 });
      expect(predictions).toHaveLength(made);
      expect(problems).toHaveLength(told);
      if (told)
        expect(problems[0]).toMatchObject({
          code: 'INPUT_NOT_FINITE',
          message: expect.stringContaining('a'),
        });
      expect(pipeline.counts().notFinite).toBe(1);
    },
  );

  it('never throws at the source: a failing model is a counted problem and the next reading goes on', async () => {
    const { feed, problems, pipeline } = await pipelineOf(
      manifestWith(),
      addingBackend(0, new Error('boom')),
    );
    await feed({ a: 1, b: 2 });
    await feed({ a: 1, b: 2 });
    expect(problems).toMatchObject([{ message: 'boom' }, { message: 'boom' }]);
    expect(pipeline.counts()).toMatchObject({ readings: 2, failures: 2, predictions: 0 });
  });

  it('makes no prediction of an output that is not finite', async () => {
    const { feed, predictions, problems } = await pipelineOf(manifestWith(), addingBackend(Number.NaN));
    await feed({ a: 1, b: 2 });
    expect(predictions).toEqual([]);
    expect(problems).toMatchObject([{ code: 'MODEL_OUTPUT_NOT_FINITE' }]);
  });

  it('starts a new window and new drift counts with a new model', async () => {
    const rows = Array.from({ length: 400 }, (_, i) => Math.sin(i * 7));
    const drift = makeProfile([{ name: 'a', values: rows }], { window: 50, windowsPerMonth: 100, seed: 1 });
    const manifest = manifestWith({
      inputs: [{ name: 'x', type: 'float32', shape: [-1, 2] }],
      preprocess: {
        kind: 'features',
        onMissing: 'reject',
        features: ['a'],
        window: { size: 2, stride: 1, padding: 'edge' },
      },
      drift,
    });
    const { feed, predictions, drifts, activate } = await pipelineOf(manifest);
    await feed({ a: 1 }, 1);
    await feed({ a: 2 }, 2);
    await activate({ ...manifest, version: '2.0.0' });
    await feed({ a: 3 }, 3);
    expect(predictions.map(({ record }) => record.version)).toEqual(['1.0.0', '1.0.0', '2.0.0']);
    expect([...(predictions[2]!.outputs.y!.data as Float32Array)]).toEqual([3, 3]);
    expect(drifts).toMatchObject([{ version: '1.0.0', n: 2, window: 0, verdict: 'not-enough-data' }]);
  });

  it('reports one drift record for each full window, numbered', async () => {
    const rows = Array.from({ length: 400 }, (_, i) => Math.sin(i * 7));
    const drift = makeProfile([{ name: 'a', values: rows }], { window: 50, windowsPerMonth: 100, seed: 1 });
    const { feed, drifts, pipeline } = await pipelineOf(manifestWith({ drift }));
    for (let i = 0; i < 120; i++) await feed({ a: Math.sin(i * 7), b: 0 }, i);
    pipeline.flush({ ts: 120, mono: 120 });
    expect(drifts.map(({ window, n }) => [window, n])).toEqual([
      [0, 50],
      [1, 50],
      [2, 20],
    ]);
    expect(drifts[0]!.charts[0]!.counts.reduce((a, b) => a + b, 0)).toBe(50);
  });
});

describe('a new model’s drift', () => {
  const wave = (i: number) => Math.sin(i * 7);
  const profileOf = (of: (i: number) => number) => {
    const values = Array.from({ length: 400 }, (_, i) => of(i));
    return makeProfile([{ name: 'a', values }], { window: 50, windowsPerMonth: 100, seed: 1 });
  };
  const model = (version: string, of: (i: number) => number, features = ['a', 'b']) =>
    manifestWith({
      version,
      drift: profileOf(of),
      preprocess: { ...featuresOf, features },
      inputs: [{ name: 'x', type: 'float32', shape: [-1, features.length] }],
    });
  const featuresOf = {
    kind: 'features' as const,
    onMissing: 'reject' as const,
    window: { size: 1, stride: 1, padding: 'none' as const },
  };
  /** What both charts say of each full window of the new model. */
  async function both(next: Manifest, world: (i: number) => number) {
    const { activate, beside, drifts, feed } = await pipelineOf(model('1.0.0', wave));
    for (let i = 0; i < 130; i++) await feed({ a: wave(i), b: 0, c: 9 }, i);
    await activate(next);
    for (let i = 130; i < 330; i++) await feed({ a: world(i), b: 0, c: 9 }, i);
    return drifts.flatMap(({ version, verdict }, k) => (version === '2.0.0' ? [[verdict, beside[k]]] : []));
  }

  it('is the model’s own where the same readings are calm by the profile before it', async () => {
    const found = await both(
      model('2.0.0', (i) => wave(i) + 3),
      wave,
    );
    expect(found).toEqual([...Array(4)].map(() => ['drift', 'calm']));
  });

  it('is the world’s where they drift by both', async () => {
    const found = await both(model('2.0.0', wave), (i) => wave(i) + 3);
    expect(found).toEqual([...Array(4)].map(() => ['drift', 'drift']));
  });

  it('is held against the profile before it also where that model had other features', async () => {
    const found = await both(
      model('2.0.0', (i) => wave(i) + 3, ['c', 'a']),
      wave,
    );
    expect(found).toEqual([...Array(4)].map(() => ['drift', 'calm']));
  });
});
