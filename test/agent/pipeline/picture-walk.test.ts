/** Readings with pictures on their way through the pipeline: same walk, same order, bounded, counted. */
import type { Backend, Tensors } from '@skein/agent/inference/backend.ts';
import { Engine } from '@skein/agent/inference/engine.ts';
import { detailOf } from '@skein/agent/pipeline/outcome-detail.ts';
import { type Pictures, preparedPixels } from '@skein/agent/pipeline/pictures.ts';
import { type Pixels, type RawPicture, rawPixels } from '@skein/agent/pipeline/pixels.ts';
import {
  createPipeline,
  type PipelineProblem,
  type PredictionEvent,
} from '@skein/agent/pipeline/run-pipeline.ts';
import type { Picture } from '@skein/agent/sources/port.ts';
import { makeProfile } from '@skein/protocol/drift/profile.ts';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Manifest } from '@skein/protocol/manifest.ts';
import type { ImagePreprocess } from '@skein/protocol/manifest-pipeline.ts';
import type { DriftRecord } from '@skein/protocol/records.ts';
import { describe, expect, it } from 'vitest';

const preprocess: ImagePreprocess = {
  kind: 'image',
  width: 2,
  height: 2,
  resize: { mode: 'stretch', filter: 'nearest' },
  colour: 'gray',
  type: 'float32',
  layout: 'NHW',
};
const hash = 'a'.repeat(64);
const manifestOf = (change: Partial<Manifest> = {}): Manifest => ({
  ...{ format: 1, name: 'm', version: '1.0.0', description: '', licence: 'MIT', preprocess, drift: null },
  inputs: [{ name: 'x', type: 'float32', shape: [-1, 2, 2] }],
  outputs: [{ name: 'y', type: 'float32', shape: [-1, 2, 2] }],
  postprocess: { kind: 'regress', output: 'y', low: null, high: 100 },
  variants: [
    {
      ...{ id: 'fp32', precision: 'fp32', backend: 'onnxruntime', tolerance: 0, accuracy: null },
      file: { sha256: hash, size: 1 },
    },
  ],
  ...{ golden: { sha256: hash, size: 1 }, needs: { memoryBytes: 0, tags: [] }, quantization: null },
  lineage: { trainedFrom: [] },
  ...change,
});

type Infer = (inputs: Tensors) => Promise<Tensors>;
const backendOf = ({ inputs, outputs }: Manifest, infer: Infer): Backend => ({
  name: 'test',
  load: async () => ({
    ...{ sha256: hash, provider: 'test', placement: 'inline', reason: '', inputs, outputs },
    infer,
    close: async () => undefined,
  }),
});
const echo: Infer = async ({ x }) => ({ y: x! });

/** Prepared at once, on raw frames. */
const atOnce: Pick<Pictures, 'prepare'> = {
  prepare: async (picture, wanted) => preparedPixels(wanted, pixelsOf(picture)),
};
function pixelsOf(picture: Picture): Pixels {
  if (picture.format === 'jpeg' || picture.format === 'png')
    throw new SkeinError('IMAGE_INVALID', 'not here');
  return rawPixels(picture as RawPicture, { pixels: 100, bytes: 100 });
}
const frame = (shade: number): Picture => ({
  ...{ format: 'gray8', width: 2, height: 2 },
  bytes: new Uint8Array(4).fill(shade),
});

async function walk(
  manifest = manifestOf(),
  infer = echo,
  pictures: Pick<Pictures, 'prepare'> | undefined = atOnce,
) {
  let mono = 0;
  const clock = { now: () => 0, mono: () => mono++, after: () => ({ cancel() {} }) };
  const engine = new Engine({ backend: backendOf(manifest, infer), clock });
  const activate = (of: Manifest) =>
    engine.activate({
      ...{ manifest: of, manifestSha256: hash, variant: of.variants[0]!, modelPath: '', goldenPath: '' },
    });
  await activate(manifest);
  const predictions: PredictionEvent[] = [];
  const problems: PipelineProblem[] = [];
  const drifts: DriftRecord[] = [];
  const pipeline = createPipeline({
    ...{ engine, model: 'm', boot: 'b', pictures },
    onPrediction: (event) => predictions.push(event),
    onDrift: (record) => drifts.push(record),
    onProblem: (problem) => problems.push(problem),
  });
  const take = (picture: Picture, ts = 0) =>
    pipeline.reading({ ts, mono: ts, source: 'cam', picture, values: {} });
  return { pipeline, predictions, problems, drifts, take, activate, engine };
}

describe('a reading with a picture', () => {
  it('becomes a prediction with its stamps, as one of numbers does', async () => {
    const { take, predictions } = await walk();
    await take(frame(7), 77);
    expect(predictions[0]!.record).toMatchObject({
      ...{ ts: 77, source: 'cam', model: 'm', version: '1.0.0', score: 7, label: 'normal' },
    });
    expect(predictions[0]!.record).not.toHaveProperty('count');
  });

  it('that is damaged is counted, told, and followed by the next', async () => {
    const { take, predictions, problems, pipeline } = await walk();
    await take({ format: 'jpeg', bytes: new Uint8Array(3) });
    await take(frame(1));
    expect(problems).toMatchObject([{ code: 'IMAGE_INVALID', source: 'cam' }]);
    expect(predictions).toHaveLength(1);
    expect(pipeline.counts()).toMatchObject({ readings: 2, predictions: 1, picturesInvalid: 1, failures: 1 });
  });

  it('is told in its order, whichever is decoded or inferred first', async () => {
    const waiting: (() => void)[] = [];
    const slow: Pick<Pictures, 'prepare'> = {
      prepare: (picture, wanted) =>
        new Promise((resolve) => waiting.push(() => resolve(preparedPixels(wanted, pixelsOf(picture))))),
    };
    const { take, predictions } = await walk(manifestOf(), echo, slow);
    const all = [1, 2, 3].map((shade) => take(frame(shade), shade));
    waiting[2]!();
    await new Promise((resolve) => setImmediate(resolve));
    waiting[0]!();
    await all[0];
    expect(predictions.map(({ record }) => record.score)).toEqual([1]);
    waiting[1]!();
    await Promise.all(all);
    expect(predictions.map(({ record }) => record.ts)).toEqual([1, 2, 3]);
  });

  it('does not hold up those after it when it fails', async () => {
    const { take, predictions } = await walk();
    await Promise.all([take({ format: 'png', bytes: new Uint8Array(1) }, 1), take(frame(2), 2)]);
    expect(predictions.map(({ record }) => record.ts)).toEqual([2]);
  });

  it('is left out and counted when too many are under way', async () => {
    const never: Pick<Pictures, 'prepare'> = { prepare: () => new Promise(() => undefined) };
    const { take, problems, pipeline } = await walk(manifestOf(), echo, never);
    for (let i = 0; i < 4; i++) void take(frame(i));
    await take(frame(5));
    expect(problems).toMatchObject([{ code: 'OVERLOADED' }]);
    expect(pipeline.counts()).toMatchObject({ readings: 5, dropped: 1, failures: 0 });
  });

  it('is prepared again for a model that came while it was decoded', async () => {
    let prepared = 0;
    const scene = await walk(manifestOf(), echo, {
      prepare: async (picture, wanted) => {
        if (prepared++ === 0) await scene.activate(manifestOf({ version: '2.0.0' }));
        return preparedPixels(wanted, pixelsOf(picture));
      },
    });
    await scene.take(frame(3));
    expect(prepared).toBe(2);
    expect(scene.predictions.map(({ record }) => record.version)).toEqual(['2.0.0']);
  });

  it('is refused by a model of features, and features by a model of pictures', async () => {
    const { pipeline, problems } = await walk();
    await pipeline.reading({ ts: 0, mono: 0, source: 's', values: { a: 1 } });
    expect(problems).toMatchObject([{ code: 'SOURCE_INVALID', message: '`m` takes pictures' }]);
    const tensors = manifestOf({ preprocess: { kind: 'tensor' } });
    const other = await walk(tensors);
    await other.take(frame(1));
    expect(other.problems).toMatchObject([{ message: '`m` takes tensors of the local API only' }]);
  });

  it('is charted by brightness, contrast and the outputs', async () => {
    const shades = Array.from({ length: 300 }, (_, i) => (i * 37) % 256);
    const charts = [
      { name: 'brightness', values: shades.map((shade) => shade / 255) },
      { name: 'output:score', values: shades },
    ];
    const drift = makeProfile(charts, { window: 20, windowsPerMonth: 100, seed: 1 });
    const { take, drifts } = await walk(manifestOf({ drift }));
    for (let i = 0; i < 20; i++) await take(frame(shades[i]!), i);
    expect(drifts).toMatchObject([{ n: 20 }]);
    const sums = drifts[0]!.charts.map(({ counts }) => counts.reduce((a, b) => a + b, 0));
    expect(sums[0]).toBe(20);
    expect(sums[1]).toBeGreaterThanOrEqual(19);
  });

  it('gives nothing when the model gives NaN, and says so', async () => {
    const { take, problems, pipeline } = await walk(manifestOf(), async () => ({
      y: { type: 'float32', dims: [1, 2, 2], data: new Float32Array(4).fill(Number.NaN) },
    }));
    await take(frame(1));
    expect(problems).toMatchObject([{ code: 'MODEL_OUTPUT_NOT_FINITE' }]);
    expect(pipeline.counts()).toMatchObject({ outputsNotFinite: 1, failures: 1 });
  });

  it('of a detector says its best box and how many there are', async () => {
    const post = {
      ...{ kind: 'detect', output: 'y', order: 'rows', box: 'xywh', coordinates: 'pixels' },
      ...{ values: 'classes', activation: 'none', labels: ['bee'], alarmLabels: [], suppress: 'all' },
      ...{ scoreThreshold: 0.5, iouThreshold: 0.5, maxDetections: 9 },
    } as Manifest['postprocess'];
    const y = {
      ...{ type: 'float32' as const, dims: [1, 2, 5] },
      data: Float32Array.of(...[0, 0, 1, 1, 0.75], ...[1, 1, 1, 1, 0.5]),
    };
    const outputs = [{ name: 'y', type: 'float32' as const, shape: [-1, 2, 5] }];
    const { take, predictions } = await walk(manifestOf({ postprocess: post, outputs }), async () => ({ y }));
    await take(frame(1));
    expect(predictions[0]!.record).toMatchObject({ label: 'bee', score: 0.75, count: 2 });
    expect(detailOf(predictions[0]!.outcome)).toEqual({
      ...{ count: 2, box_1: 'bee 0.75 0,0 1x1', box_2: 'bee 0.50 1,1 1x1' },
    });
  });
});

describe('the live detail', () => {
  it('is flat and bounded, however long the labels and many the boxes', () => {
    const box = { label: 'x'.repeat(64), score: 0.123456, x: 1, y: 2, width: 3, height: 4 };
    const detail = detailOf({ boxes: new Array(300).fill(box), top: new Array(16).fill(box) });
    expect(Object.keys(detail)).toHaveLength(4 + 1 + 8);
    for (const text of Object.values(detail)) expect(String(text).length).toBeLessThanOrEqual(64);
    expect(detail.box_8).toMatch(/ 0\.12 1,2 3x4$/);
  });

  it('is empty for a plain class', () => {
    expect(detailOf({ top: [] })).toEqual({});
  });
});
