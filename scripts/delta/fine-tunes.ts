/**
 * Real pairs for the delta's benchmark: models that are trained here or came from ../shared/data, each fine-tuned on
 * samples it had not seen, all weights or the last layer alone, and both ends quantized by our own quantizer.
 */
import type { Tensors } from '@skein/agent/inference/backend.ts';
import type { LabelledSample } from '@skein/agent/model/calibration-data.ts';
import {
  floatTensor,
  floatValue,
  modelOf,
  nodeOf,
  saveGraph,
  type TensorProto,
} from '@skein/agent/model/graph.ts';
import { quantize } from '@skein/agent/model/onnx-quantize.ts';
import { seededUniform } from '@skein/protocol/drift/bootstrap.ts';
import { gas, gasBatch, mnist, resnet8 } from '../reference-models.ts';
import { type Sample, type TrainingPlan, train } from '../train/backprop.ts';

export interface Pair {
  name: string;
  /** What moved. */
  moved: 'all' | 'last';
  type: 'fp32' | 'int8';
  old: Uint8Array;
  now: Uint8Array;
}

interface Subject {
  name: string;
  model: Uint8Array;
  shape: number[];
  samples: Sample[];
  calibration: Tensors[];
  lastLayer: (name: string) => boolean;
  tunes: { name: string; plan: Omit<TrainingPlan, 'moves' | 'uniform'> }[];
}

const samplesOf = (labelled: readonly LabelledSample[]): Sample[] =>
  labelled.map(({ input, label }) => ({
    input: Object.values(input)[0]!.data as Float32Array,
    label: label!,
  }));

/** He's initialisation. */
function perceptron(widths: readonly number[], uniform: () => number): Uint8Array {
  const initializer: TensorProto[] = [];
  const node = widths.slice(1).flatMap((outputs, i) => {
    const inputs = widths[i]!;
    const limit = Math.sqrt(6 / inputs);
    const weights = Float32Array.from({ length: inputs * outputs }, () => (2 * uniform() - 1) * limit);
    initializer.push(
      floatTensor(`w${i}`, [inputs, outputs], weights),
      floatTensor(`b${i}`, [outputs], new Float32Array(outputs)),
    );
    const from = i === 0 ? 'x' : `a${i - 1}`;
    const gemm = nodeOf('Gemm', [from, `w${i}`, `b${i}`], [`z${i}`]);
    return i === widths.length - 2 ? [gemm] : [gemm, nodeOf('Relu', [`z${i}`], [`a${i}`])];
  });
  node.push(nodeOf('Softmax', [`z${widths.length - 2}`], ['prob']));
  return saveGraph(
    modelOf({
      name: 'perceptron',
      node,
      initializer,
      valueInfo: [],
      input: [floatValue('x', [-1, widths[0]!])],
      output: [floatValue('prob', [-1, widths.at(-1)!])],
    }),
  );
}

const adam = (rate: number, decay = 0) => ({
  name: decay > 0 ? `AdamW ${rate}` : `Adam ${rate}`,
  plan: { epochs: 1, batch: 32, rate, decay, optimizer: 'adam' as const },
});
const momentum = (rate: number) => ({
  name: `SGD ${rate}`,
  plan: { epochs: 1, batch: 32, rate, optimizer: 'momentum' as const },
});

/** Trained on 6,000 digits, tuned on 4,000 others. */
function digits(): Subject {
  const all = samplesOf(mnist('mnist-13').evaluation).map(({ input, label }) => ({
    input: input.map((v) => v / 255),
    label,
  }));
  const start = perceptron([784, 256, 128, 10], seededUniform(1));
  const plan = { ...adam(1e-3).plan, epochs: 2, moves: () => true, uniform: seededUniform(2) };
  const { model } = train(start, [1, 784], all.slice(0, 6000), plan);
  const calibration = all
    .slice(0, 200)
    .map(({ input }): Tensors => ({ x: { type: 'float32', dims: [1, 784], data: input } }));
  return {
    name: 'digits MLP',
    model,
    shape: [1, 784],
    samples: all.slice(6000),
    calibration,
    lastLayer: (name) => name === 'w2' || name === 'b2',
    tunes: [adam(1e-4), adam(1e-4, 0.1), momentum(1e-3)],
  };
}

/** Trained on batches 1 and 2, tuned on batch 3: what a fleet does about drift. */
function sensors(): Subject {
  const { model, calibration } = gas();
  return {
    name: 'gas-v1',
    model,
    shape: [1, 128],
    samples: samplesOf(gasBatch(3)),
    calibration,
    lastLayer: (name) => name === 'W2' || name === 'B2',
    tunes: [adam(1e-3), momentum(1e-3)],
  };
}

/** MLPerf Tiny's classifier, tuned on 160 images. */
function pictures(): Subject {
  const reference = resnet8();
  return {
    name: 'resnet8',
    model: reference.model,
    shape: [1, 32, 32, 3],
    samples: samplesOf(reference.evaluation).slice(0, 160),
    calibration: reference.calibration,
    lastLayer: (name) => name.startsWith('dense_'),
    tunes: [momentum(1e-3)],
  };
}

/** Enough to move a last layer. */
const FEW = 128;
const FROZEN = /^(mean|inv)$|_[mv]$/;

/** One after another, as each is made. */
export async function* fineTunes(): AsyncGenerator<Pair> {
  for (const subject of [digits(), sensors(), pictures()]) {
    const { name, model, shape, samples, lastLayer, tunes } = subject;
    const small = await quantized(subject, model);
    for (const [i, tune] of tunes.entries()) {
      const tuned = (moves: (name: string) => boolean, on: readonly Sample[]) =>
        train(model, shape, on, { ...tune.plan, moves, uniform: seededUniform(10 + i) }).model;
      const whole = tuned((tensor) => !FROZEN.test(tensor), samples);
      const title = `${name}, ${tune.name}`;
      yield { name: title, moved: 'all', type: 'fp32', old: model, now: whole };
      yield { name: title, moved: 'all', type: 'int8', old: small, now: await quantized(subject, whole) };
      if (i > 0) continue;
      const last = tuned(lastLayer, samples.slice(0, FEW));
      yield { name: title, moved: 'last', type: 'fp32', old: model, now: last };
      yield { name: title, moved: 'last', type: 'int8', old: small, now: await quantized(subject, last) };
    }
  }
}

/** Bounds that always hold: what is compared here is bytes. */
const LENIENT = { minAgreement: 0, minSqnrDb: -100, maxAccuracyLoss: 1, maxSlowdown: 1e9 };

const quantized = async ({ calibration }: Subject, model: Uint8Array): Promise<Uint8Array> =>
  (await quantize(model, calibration, { mode: 'static', calibration: { kind: 'min-max' }, bounds: LENIENT }))
    .bytes;
