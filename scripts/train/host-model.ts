/** Trains one version of the host model on a recording and packs it. */

import type { Bundle } from '@skein/agent/model/bundle.ts';
import { floatTensor, floatValue, modelOf, nodeOf, saveGraph } from '@skein/agent/model/graph.ts';
import { type PackReport, packModel } from '@skein/agent/model/onnx-pack.ts';
import { scaleRow } from '@skein/agent/pipeline/preprocess.ts';
import { RowWindow } from '@skein/agent/pipeline/window.ts';
import { HOST_FEATURES } from '@skein/agent/sources/host-rates.ts';
import type { FeaturePreprocess } from '@skein/protocol/manifest.ts';
import { type Layer, reconstructionErrors, trainAutoencoder } from './autoencoder.ts';

export interface HostModelOptions {
  version: string;
  description: string;
  /** Widths of the hidden layers. */
  hidden: readonly number[];
  epochs: number;
  seed: number;
}

const WINDOW = 5;
/** Beyond this many deviations more does not count: one wild feature must not drown the others. */
const CLIP = 8;
/** Features that hardly moved in the recording must not become infinitely sensitive. */
const LEAST_SCALE = 0.02;
const BLOCK_SECONDS = 60;
/** Of ten blocks in a row, which are kept from training. */
const CALIBRATION_BLOCK = 3;
const HOLDOUT_BLOCK = 7;
const ALARM_SCORE = 2;
const DRIFT_WINDOW = 120;

type Use = 'train' | 'calibration' | 'holdout';
const useOf = (block: number): Use =>
  block % 10 === CALIBRATION_BLOCK ? 'calibration' : block % 10 === HOLDOUT_BLOCK ? 'holdout' : 'train';

/** Blocks of time, so that a window in one set is not a shifted copy of one in another. */
export function splitByTime(segments: readonly Float64Array[][]): Record<Use, Float64Array[][]> {
  const sets: Record<Use, Float64Array[][]> = { train: [], calibration: [], holdout: [] };
  let block = 0;
  for (const segment of segments) {
    for (let from = 0; from < segment.length; from += BLOCK_SECONDS) {
      sets[useOf(block++)].push(segment.slice(from, from + BLOCK_SECONDS));
    }
  }
  return sets;
}

function preprocessFor(rows: readonly Float64Array[]): FeaturePreprocess {
  const offset: number[] = [];
  const scale: number[] = [];
  HOST_FEATURES.forEach((_, column) => {
    const values = rows.map((row) => row[column]!).filter(Number.isFinite);
    const mean = values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
    const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / Math.max(1, values.length);
    offset.push(Number(mean.toPrecision(7)));
    scale.push(Number(Math.max(LEAST_SCALE, Math.sqrt(variance)).toPrecision(7)));
  });
  return {
    kind: 'features',
    features: [...HOST_FEATURES],
    scaling: { offset, scale, clip: CLIP },
    window: { size: WINDOW, stride: 1, padding: 'edge' },
    onMissing: 'fill',
  };
}

/** Every block starts with padded windows, as the agent does after its own start. */
const windowsOf = (preprocess: FeaturePreprocess, blocks: readonly Float64Array[][]): Float32Array[] =>
  blocks.flatMap((rows) => {
    const window = new RowWindow(preprocess.window);
    return rows.flatMap((row) => window.push(scaleRow(preprocess, row)) ?? []);
  });

export function toOnnx(layers: readonly Layer[]): Uint8Array {
  const last = layers.length - 1;
  const width = layers[0]!.inputs;
  const outputOf = (l: number) => (l === last ? 'reconstruction' : `hidden${l}`);
  return saveGraph(
    modelOf({
      name: 'host-autoencoder',
      node: layers.flatMap((_, l) => {
        const from = l === 0 ? 'window' : outputOf(l - 1);
        const gemm = nodeOf('Gemm', [from, `W${l}`, `b${l}`], [l === last ? outputOf(l) : `sum${l}`]);
        return l === last ? [gemm] : [gemm, nodeOf('Tanh', [`sum${l}`], [outputOf(l)])];
      }),
      initializer: layers.flatMap(({ inputs, outputs, weights, bias }, l) => [
        floatTensor(`W${l}`, [inputs, outputs], weights),
        floatTensor(`b${l}`, [outputs], bias),
      ]),
      input: [floatValue('window', [-1, width])],
      output: [floatValue('reconstruction', [-1, width])],
      valueInfo: [],
    }),
  );
}

const CORRUPTED_SHARE = 0.5;
const MOST_SHIFTED = 4;

/**
 * Half of the windows get a few features shifted as a whole, and must be mapped back: the model learns what a feature
 * should be given all the others, instead of copying it through.
 */
function shiftFeatures(window: Float32Array, uniform: () => number): Float32Array {
  if (uniform() >= CORRUPTED_SHARE) return window;
  const shifted = window.slice();
  const features = HOST_FEATURES.length;
  for (let left = 1 + Math.floor(uniform() * MOST_SHIFTED); left > 0; left--) {
    const feature = Math.floor(uniform() * features);
    const by = (2 * uniform() - 1) * CLIP;
    for (let at = feature; at < shifted.length; at += features) {
      shifted[at] = Math.max(-CLIP, Math.min(CLIP, shifted[at]! + by));
    }
  }
  return shifted;
}

const quantile = (values: Float64Array, q: number): number => {
  const sorted = values.slice().sort();
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))]!;
};

export interface HostModel {
  bundle: Bundle;
  report: PackReport;
  /** Mean squared errors: median and 99.9th percentile on blocks that training never saw. */
  holdout: { median: number; p999: number; windows: number };
}

export async function trainHostModel(
  segments: readonly Float64Array[][],
  options: HostModelOptions,
  onEpoch: (epoch: number, loss: number) => void,
): Promise<HostModel> {
  const sets = splitByTime(segments);
  const preprocess = preprocessFor(sets.train.flat());
  const width = WINDOW * HOST_FEATURES.length;
  const layers = trainAutoencoder(windowsOf(preprocess, sets.train), {
    widths: [width, ...options.hidden, width],
    epochs: options.epochs,
    batch: 32,
    rate: 2e-3,
    seed: options.seed,
    corrupt: shiftFeatures,
    onEpoch,
  });
  const errors = reconstructionErrors(layers, windowsOf(preprocess, sets.holdout));
  const p999 = quantile(errors, 0.999);
  const { bundle, report } = await packModel({
    name: 'host',
    version: options.version,
    description: options.description,
    licence: 'Apache-2.0',
    model: toOnnx(layers),
    preprocess,
    postprocess: {
      kind: 'reconstruction',
      output: 'reconstruction',
      unit: Number(p999.toPrecision(6)),
      threshold: ALARM_SCORE,
    },
    recording: [...sets.calibration, ...sets.holdout],
    reference: segments,
    int8: {},
    order: ['int8'],
    drift: { window: DRIFT_WINDOW, readingsPerSecond: 1 },
    trainedFrom: ['models/host/recording.csv.gz'],
  });
  return { bundle, report, holdout: { median: quantile(errors, 0.5), p999, windows: errors.length } };
}
