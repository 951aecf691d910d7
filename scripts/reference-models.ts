/** The models of ../shared/data with their own data, as the quantizer's bars and benchmark measure them. */
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import type { Tensors } from '@skein/agent/inference/backend.ts';
import type { LabelledSample } from '@skein/agent/model/calibration-data.ts';

export const DATA = fileURLToPath(new URL('../../shared/data/', import.meta.url));
export const hasData = (): boolean => existsSync(`${DATA}models/resnet8-cifar.onnx`);

export interface Reference {
  name: string;
  model: Uint8Array;
  calibration: Tensors[];
  /** Unseen by calibration, but for gas-v1, whose bar is on all of batches 1 and 2. */
  evaluation: LabelledSample[];
}

const raw = (path: string): Uint8Array => new Uint8Array(readFileSync(DATA + path));
const unpacked = (path: string): Uint8Array => new Uint8Array(gunzipSync(readFileSync(DATA + path)));
const modelFile = (name: string): Uint8Array => raw(`models/${name}.onnx`);

const floats = (name: string, dims: number[], data: Float32Array): Tensors => ({
  [name]: { type: 'float32', dims, data },
});

/** Bytes 0…255 as float32, one image after another. */
function images(bytes: Uint8Array, name: string, dims: number[]): Tensors[] {
  const size = dims.reduce((product, dim) => product * dim, 1);
  return Array.from({ length: bytes.length / size }, (_, i) =>
    floats(name, dims, Float32Array.from(bytes.subarray(i * size, (i + 1) * size))),
  );
}

const labelled = (inputs: Tensors[], labels: ArrayLike<number>): LabelledSample[] =>
  inputs.map((input, i) => ({ input, label: labels[i]! }));

export function resnet8(): Reference {
  const dims = [1, 32, 32, 3];
  return {
    name: 'resnet8',
    model: modelFile('resnet8-cifar'),
    calibration: images(unpacked('cifar/calibration-200.u8.gz'), 'input', dims),
    evaluation: labelled(
      images(unpacked('cifar/test-500.u8.gz'), 'input', dims),
      raw('cifar/test-500-labels.u8'),
    ),
  };
}

const IDX_IMAGES_HEADER = 16;
const IDX_LABELS_HEADER = 8;
const MNIST_CALIBRATION = 200;

/** The first images calibrate; the bar is on all 10,000. */
export function mnist(name: 'mnist-8' | 'mnist-13'): Reference {
  const pixels = unpacked('mnist/t10k-images-idx3-ubyte.gz').subarray(IDX_IMAGES_HEADER);
  const all = images(pixels, 'Input3', [1, 1, 28, 28]);
  const labels = unpacked('mnist/t10k-labels-idx1-ubyte.gz').subarray(IDX_LABELS_HEADER);
  return {
    name,
    model: modelFile(name),
    calibration: all.slice(0, MNIST_CALIBRATION),
    evaluation: labelled(all, labels),
  };
}

/** `class;concentration 1:v 2:v …`; the class's number less one is the output's position. */
function gasSamples(batches: readonly number[]): LabelledSample[] {
  const text = batches.map((batch) => new TextDecoder().decode(unpacked(`gas/batch${batch}.dat.gz`)));
  const lines = text.flatMap((batch) => batch.trim().split('\n')).map((line) => line.trim().split(/\s+/));
  const inputs = lines.map(([, ...cells]) =>
    floats(
      'x',
      [1, cells.length],
      Float32Array.from(cells, (cell) => Number(cell.split(':')[1])),
    ),
  );
  return labelled(
    inputs,
    lines.map(([head]) => Number.parseInt(head!, 10) - 1),
  );
}

/** Later months of the same sensors. */
export const gasBatch = (batch: number): LabelledSample[] => gasSamples([batch]);

export function gas(): Reference {
  const evaluation = gasSamples([1, 2]);
  return {
    name: 'gas-v1',
    model: modelFile('gas-v1'),
    calibration: evaluation.filter((_, i) => i % 4 === 0).map(({ input }) => input),
    evaluation,
  };
}
