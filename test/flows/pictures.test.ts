/** Image models packed and run by the same functions: the accuracy that is known of them comes out of the device's walk. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { Engine } from '@skein/agent/inference/engine.ts';
import { OnnxBackend } from '@skein/agent/inference/onnx-backend.ts';
import { writeBundle } from '@skein/agent/model/disk-bundle.ts';
import { type PackRequest, packModel } from '@skein/agent/model/onnx-pack.ts';
import { openModel, runAll } from '@skein/agent/model/onnx-quantize.ts';
import { pictureSample } from '@skein/agent/model/pack-samples.ts';
import { argmax } from '@skein/agent/pipeline/activations.ts';
import { decodePicture } from '@skein/agent/pipeline/image-decode.ts';
import { preparedPixels } from '@skein/agent/pipeline/pictures.ts';
import { createPipeline } from '@skein/agent/pipeline/run-pipeline.ts';
import { workerPictures } from '@skein/agent/pipeline/worker-pictures.ts';
import type { Picture } from '@skein/agent/sources/port.ts';
import { systemClock } from '@skein/agent/system-clock.ts';
import type { ImagePreprocess } from '@skein/protocol/manifest-pipeline.ts';
import type { DriftRecord } from '@skein/protocol/records.ts';
import { afterAll, describe, expect, it } from 'vitest';

const DATA = fileURLToPath(new URL('../../../shared/data/', import.meta.url));
const bytesOf = (path: string) => new Uint8Array(readFileSync(DATA + path));
const unpacked = (path: string) => new Uint8Array(gunzipSync(readFileSync(DATA + path)));
const folders: string[] = [];
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

interface Pictured {
  picture: Picture;
  truth: string;
}

async function packed(request: Omit<PackRequest, 'samples'>, preprocess: ImagePreprocess, data: Pictured[]) {
  const session = await openModel(request.model);
  const inputs = [...session.inputs];
  await session.close();
  const samples = [];
  for (const { picture, truth } of data) {
    samples.push(
      pictureSample(inputs, preprocess, preparedPixels(preprocess, await decodePicture(picture)), truth),
    );
  }
  const { bundle, report } = await packModel({ ...request, samples });
  const folder = mkdtempSync(join(tmpdir(), 'skein-pictures-'));
  folders.push(folder);
  await writeBundle(bundle, folder);
  return { bundle, report, folder };
}

/** Every picture through the device's own walk, with the variant that is preferred. */
async function walked(
  { bundle: { manifest, manifestSha256 }, folder }: Awaited<ReturnType<typeof packed>>,
  data: Pictured[],
) {
  const engine = new Engine({ backend: new OnnxBackend({ placement: 'inline' }), clock: systemClock });
  const variant = manifest.variants[0]!;
  const pathOf = (sha: string) => join(folder, 'blobs', sha);
  const [modelPath, goldenPath] = [pathOf(variant.file.sha256), pathOf(manifest.golden.sha256)];
  await engine.activate({ manifest, manifestSha256, variant, modelPath, goldenPath });
  const pictures = workerPictures();
  const labels: string[] = [];
  const drifts: DriftRecord[] = [];
  const pipeline = createPipeline({
    ...{ engine, model: manifest.name, boot: 'b', pictures },
    onPrediction: ({ record }) => labels.push(record.label),
    onDrift: (record) => drifts.push(record),
    onProblem: ({ message }) => expect.unreachable(message),
  });
  for (const [i, { picture }] of data.entries()) {
    await pipeline.reading({ ts: i, mono: i, source: 'camera', picture, values: {} });
  }
  await Promise.all([engine.close(), pictures.close()]);
  expect(labels).toHaveLength(data.length);
  return { accuracy: labels.filter((label, i) => label === data[i]!.truth).length / labels.length, drifts };
}

const common = { version: '1.0.0', description: '', licence: 'MIT', trainedFrom: [] };
const classes = (names: readonly string[], output: string, softmax: boolean) => ({
  ...{ kind: 'classify' as const, output, softmax },
  ...{ labels: [...names], alarmLabels: [] },
});
const identity = { mode: 'stretch', filter: 'bilinear' } as const;

describe.skipIf(!existsSync(DATA))('image models of ../shared/data (skipped without that folder)', () => {
  it('mnist reads 98.91% of the 10,000 digits', async () => {
    const images = unpacked('mnist/t10k-images-idx3-ubyte.gz').subarray(16);
    const labels = unpacked('mnist/t10k-labels-idx1-ubyte.gz').subarray(8);
    const data = Array.from({ length: 10_000 }, (_, i): Pictured => {
      const bytes = images.subarray(i * 784, (i + 1) * 784);
      return { picture: { format: 'gray8', width: 28, height: 28, bytes }, truth: `${labels[i]}` };
    });
    const preprocess: ImagePreprocess = {
      ...{ kind: 'image', width: 28, height: 28, resize: identity, colour: 'gray' },
      ...{ type: 'float32', layout: 'NCHW' },
    };
    const model = bytesOf('models/mnist-13.onnx');
    const postprocess = classes([...'0123456789'], 'Plus214_Output_0', true);
    const drift = { window: 500, readingsPerSecond: 1 };
    const request = { ...common, name: 'mnist', model, preprocess, postprocess, drift, int8: {} };
    const made = await packed(request, preprocess, data);
    const float = made.report.variants.find(({ id }) => id === 'fp32')!;
    expect(float.accuracy).toBeCloseTo(0.9891, 4);
    const { accuracy, drifts } = await walked(made, data);
    expect(accuracy).toBeCloseTo(made.report.variants[0]!.accuracy!, 4);
    expect(accuracy).toBeGreaterThanOrEqual(0.988);
    expect(drifts).toHaveLength(20);
    expect(drifts[0]!.charts.map(({ name }) => name)).toEqual([
      ...['brightness', 'contrast', 'confidence', 'output:label'],
    ]);
  });

  it('resnet8 recognises as many of the 500 pictures as fed by hand', async () => {
    const images = unpacked('cifar/test-500.u8.gz');
    const labels = bytesOf('cifar/test-500-labels.u8');
    const names = ['plane', 'car', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck'];
    const data = Array.from({ length: 500 }, (_, i): Pictured => {
      const bytes = images.subarray(i * 3072, (i + 1) * 3072);
      return { picture: { format: 'rgb24', width: 32, height: 32, bytes }, truth: names[labels[i]!]! };
    });
    const preprocess: ImagePreprocess = {
      ...{ kind: 'image', width: 32, height: 32, resize: identity, colour: 'RGB' },
      ...{ type: 'float32', layout: 'NHWC' },
    };
    const model = bytesOf('models/resnet8-cifar.onnx');
    const session = await openModel(model);
    const output = session.outputs[0]!.name;
    await session.close();
    const postprocess = classes(names, output, false);
    const request = {
      ...common,
      name: 'cifar',
      model,
      preprocess,
      postprocess,
      drift: null,
      int8: false as const,
    };
    const made = await packed(request, preprocess, data);
    const { accuracy } = await walked(made, data);
    expect(accuracy).toBe(made.report.variants[0]!.accuracy);
    const fedByHand = await runAll(
      model,
      data.map(({ picture: { bytes } }) => ({
        input: { type: 'float32' as const, dims: [1, 32, 32, 3], data: Float32Array.from(bytes) },
      })),
    );
    const right = fedByHand.filter((outputs, i) => {
      return names[argmax(outputs[output]!.data as Float32Array)] === data[i]!.truth;
    });
    expect(accuracy).toBe(right.length / data.length);
    expect(accuracy).toBeGreaterThan(0.74);
  });
});
