/** The quantizer's bars on real models and real data. */
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import type { Tensors } from '@skein/agent/inference/backend.ts';
import { compareOutputs, quantize, runAll } from '@skein/agent/model/onnx-quantize.ts';
import { argmax } from '@skein/agent/pipeline/postprocess.ts';
import { describe, expect, it } from 'vitest';

const DATA = fileURLToPath(new URL('../../../shared/data/', import.meta.url));
const bytesOf = (path: string) => new Uint8Array(readFileSync(DATA + path));
const unpacked = (path: string) => new Uint8Array(gunzipSync(readFileSync(DATA + path)));

describe.skipIf(!existsSync(DATA))(
  'the quantizer on the models of ../shared/data (skipped without that folder)',
  () => {
    const accuracy = (outputs: Tensors[], name: string, classes: ArrayLike<number>) =>
      outputs.filter((output, i) => argmax(output[name]!.data as Float32Array) === classes[i]).length /
      outputs.length;

    it('gas-v1 keeps at least 99.5% on batches 1 and 2 with default settings', async () => {
      const lines = [1, 2].flatMap((batch) =>
        new TextDecoder()
          .decode(unpacked(`gas/batch${batch}.dat.gz`))
          .trim()
          .split('\n'),
      );
      const rows = lines.map((line) => line.trim().split(/\s+/));
      const classes = rows.map(([head]) => Number.parseInt(head!, 10) - 1);
      const samples = rows.map(([, ...cells]) => ({
        x: {
          type: 'float32' as const,
          dims: [1, 128],
          data: Float32Array.from(cells, (cell) => Number(cell.split(':')[1])),
        },
      }));
      const { bytes } = await quantize(
        bytesOf('models/gas-v1.onnx'),
        samples.filter((_, i) => i % 4 === 0),
      );
      expect(accuracy(await runAll(bytes, samples), 'prob', classes)).toBeGreaterThanOrEqual(0.995);
    });

    it.each(['mnist-8', 'mnist-13'])('%s keeps at least 98.8% of the 10,000 digits', async (name) => {
      const images = unpacked('mnist/t10k-images-idx3-ubyte.gz').subarray(16);
      const labels = unpacked('mnist/t10k-labels-idx1-ubyte.gz').subarray(8);
      const samples = Array.from({ length: 10_000 }, (_, i) => ({
        Input3: {
          type: 'float32' as const,
          dims: [1, 1, 28, 28],
          data: Float32Array.from(images.subarray(i * 784, (i + 1) * 784)),
        },
      }));
      const { bytes } = await quantize(bytesOf(`models/${name}.onnx`), samples.slice(0, 100));
      expect(accuracy(await runAll(bytes, samples), 'Plus214_Output_0', labels)).toBeGreaterThanOrEqual(
        0.988,
      );
    });

    it('resnet8 agrees with float on at least 96.5% of 500 unseen images, at 20 dB or more', async () => {
      const imagesOf = (path: string): Tensors[] => {
        const bytes = unpacked(path);
        return Array.from({ length: bytes.length / 3072 }, (_, i) => ({
          input: {
            type: 'float32' as const,
            dims: [1, 32, 32, 3],
            data: Float32Array.from(bytes.subarray(i * 3072, (i + 1) * 3072)),
          },
        }));
      };
      const model = bytesOf('models/resnet8-cifar.onnx');
      const { bytes } = await quantize(model, imagesOf('cifar/calibration-200.u8.gz'));
      const test = imagesOf('cifar/test-500.u8.gz');
      const { agreement, sqnrDb } = compareOutputs(await runAll(model, test), await runAll(bytes, test));
      expect(agreement).toBeGreaterThanOrEqual(0.965);
      expect(sqnrDb).toBeGreaterThanOrEqual(20);
    });
  },
);
