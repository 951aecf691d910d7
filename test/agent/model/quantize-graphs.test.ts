/** Graphs of every kind through every mode: always valid, always close to float, always with the reasons said. */
import type { Tensors } from '@skein/agent/inference/backend.ts';
import {
  floatsOf,
  floatTensor,
  floatValue,
  loadGraph,
  modelOf,
  nodeOf,
  saveGraph,
} from '@skein/agent/model/graph.ts';
import { encodeGraph } from '@skein/agent/model/graph-schema.ts';
import { compareWith, runAll } from '@skein/agent/model/onnx-model.ts';
import { type QuantizeMode, quantize } from '@skein/agent/model/onnx-quantize.ts';
import { seededUniform } from '@skein/protocol/drift/bootstrap.ts';
import { describe, expect, it } from 'vitest';
import { Build, bytesOf, CASES, type Case, normal, samplesOf } from './graphs.ts';

const LEAST_DB: Record<QuantizeMode, number> = { static: 27, dynamic: 35, fp16: 55 };
const typesIn = (bytes: Uint8Array) => new Set(loadGraph(bytes).graph.node.map(({ opType }) => opType));
const vectors = (count: number, width: number, seed: number, scale = 1): Tensors[] => {
  const uniform = seededUniform(seed);
  return Array.from({ length: count }, () => ({
    x: { type: 'float32' as const, dims: [1, width], data: normal(uniform, width, scale) },
  }));
};

describe('the quantizer', () => {
  const seed = 31;
  const kinds = Object.entries(CASES).flatMap(([name, make]) =>
    (['static', 'dynamic', 'fp16'] as const)
      // Without products of matrices there is nothing for dynamic int8.
      .filter((mode) => mode !== 'dynamic' || !['gated', 'loose'].includes(name))
      .map((mode) => [name, mode, make] as const),
  );

  it.each(kinds)('makes of the %s graph a valid %s model', async (_name, mode, make) => {
    const example = make(seed);
    const float = bytesOf(example);
    const { bytes, report } = await quantize(float, samplesOf(example, 40, seed), { mode });
    expect(report.int8Nodes.length, `seed ${seed}`).toBeGreaterThan(0);
    const unseen = samplesOf(example, 20, seed + 1);
    const { sqnrDb } = await compareWith(await runAll(float, unseen), bytes, unseen);
    expect(sqnrDb, `seed ${seed}`).toBeGreaterThan(LEAST_DB[mode]);
  });

  it.each(['u8', 's8'] as const)(
    'quantizes sums, gates and joins on the way with %s',
    async (activations) => {
      const example = CASES.gated(seed);
      const { report } = await quantize(bytesOf(example), samplesOf(example, 40, 2), { activations });
      expect(report.followingNodes).toEqual(
        expect.arrayContaining(['Sigmoid_sig', 'Mul_swish', 'Concat_joined', 'MaxPool_pooled']),
      );
      expect(report.sqnrDb).toBeGreaterThan(27);
    },
  );

  it('stores a weight that two nodes share once', async () => {
    const example = CASES.gated(seed);
    const { bytes } = await quantize(bytesOf(example), samplesOf(example, 20, 2));
    const shared = loadGraph(bytes).graph.initializer.filter(({ name }) => name.startsWith('shared_w_q'));
    expect(shared).toHaveLength(1);
  });

  it('says why costly nodes stay in float', async () => {
    const example = CASES.recurrent(seed);
    const { report } = await quantize(bytesOf(example), samplesOf(example, 20, 2));
    expect(report.floatNodes).toEqual([
      { name: expect.any(String), reason: 'onnxruntime has no int8 kernel for LSTM' },
    ]);
  });

  it('leaves what a branch reads from outside as it was', async () => {
    const branch = (name: string, opType: string) => ({
      name,
      type: 5,
      g: encodeGraph({
        name,
        node: [nodeOf(opType, ['h', 'w1'], ['r'])],
        initializer: [],
        input: [],
        output: [floatValue('r', [1, 6])],
        valueInfo: [],
      }),
    });
    const b = new Build(3);
    b.node('MatMul', ['x', b.weight('w0', [6, 6], 6)], 'h');
    b.weight('w1', [6, 6], 6);
    b.weights.push(floatTensor('limit', [], Float32Array.of(0)));
    b.node('ReduceMax', ['x'], 'largest', [{ name: 'keepdims', type: 2, i: 0 }]);
    b.node('Greater', ['largest', 'limit'], 'flag');
    b.nodes.push(
      nodeOf('If', ['flag'], ['z'], [branch('then_branch', 'MatMul'), branch('else_branch', 'MatMul')]),
    );
    b.node('MatMul', ['z', b.weight('w2', [6, 6], 6)], 'y');
    const float = saveGraph(b.model([floatValue('x', [1, 6])], [floatValue('y', [1, 6])]));
    const { report } = await quantize(float, vectors(30, 6, 4));
    expect(report.int8Nodes).toEqual(['MatMul_h', 'MatMul_y']);
    expect(report.sqnrDb).toBeGreaterThan(30);
  });

  it('does not lose a channel whose weights are all zero, nor its bias', async () => {
    const b = new Build(9);
    const w = b.weight('w', [8, 4], 8);
    const values = floatsOf(b.weights[0]!);
    for (let row = 0; row < 8; row++) values[row * 4 + 2] = 0;
    b.weights[0] = floatTensor(w, [8, 4], values);
    b.node('Gemm', ['x', w, b.vector('b', Float32Array.of(0.1, 0.2, 123.456, -0.3))], 'y');
    const float = saveGraph(b.model([floatValue('x', [-1, 8])], [floatValue('y', [-1, 4])]));
    const samples = vectors(30, 8, 5);
    const { bytes } = await quantize(float, samples);
    const [answer] = await runAll(bytes, samples.slice(0, 1));
    expect((answer!.y!.data as Float32Array)[2]).toBeCloseTo(123.456, 3);
  });

  it('keeps a bias that would not fit int32 beside tiny weights', async () => {
    const b = new Build(9);
    const tiny = normal(b.uniform, 32, 1e-7);
    b.weights.push(floatTensor('w', [8, 4], tiny));
    b.node('Gemm', ['x', 'w', b.vector('b', Float32Array.of(500, -500, 1, 0))], 'y');
    const float = saveGraph(b.model([floatValue('x', [-1, 8])], [floatValue('y', [-1, 4])]));
    const { report } = await quantize(float, vectors(30, 8, 5, 0.001));
    expect(report.sqnrDb).toBeGreaterThan(100);
  });

  it('names the sample and the place of a value that is no number', async () => {
    const example = CASES.twoInputs(seed);
    const samples = samplesOf(example, 12, 2);
    (samples[5]!.x!.data as Float32Array)[3] = Number.NaN;
    await expect(quantize(bytesOf(example), samples)).rejects.toMatchObject({
      code: 'INPUT_NOT_FINITE',
      message: expect.stringMatching(/NaN in `x` at position 3/),
    });
  });

  it('refuses weights that are no numbers, with their place', async () => {
    const example = CASES.twoInputs(seed);
    const w = example.model.graph.initializer.find(({ name }) => name === 'w2')!;
    new Float32Array(w.rawData!.buffer)[7] = Number.POSITIVE_INFINITY;
    await expect(quantize(bytesOf(example), samplesOf(example, 12, 2))).rejects.toMatchObject({
      code: 'MODEL_INVALID',
      message: expect.stringMatching(/`w2` holds Infinity at position 7/),
    });
  });

  it('refuses what is no model by its own reader, before the runtime parses it', async () => {
    const example = CASES.twoInputs(seed);
    const cut = bytesOf(example).subarray(0, 300);
    await expect(quantize(cut, samplesOf(example, 12, 2))).rejects.toThrow(/the file is not an ONNX model/);
  });

  it('refuses a model that is quantized already', async () => {
    const example = CASES.twoInputs(seed);
    const samples = samplesOf(example, 12, 2);
    const { bytes } = await quantize(bytesOf(example), samples);
    await expect(quantize(bytes, samples)).rejects.toThrow(/quantized already/);
  });

  it('warns about a single sample, and calls nothing good that it could not measure apart', async () => {
    const example = CASES.separable(seed);
    const { report } = await quantize(bytesOf(example), samplesOf(example, 1, 2));
    expect(report.warnings).toEqual(expect.arrayContaining([expect.stringMatching(/single sample/)]));
    expect(report.verdict).toMatchObject({
      good: false,
      reasons: expect.arrayContaining([expect.stringMatching(/data that it was calibrated on/)]),
    });
  });
});

/** The second layer's first column has weights a thousand times those beside it; what follows saturates. */
function sensitive(): Case {
  const b = new Build(12);
  const large = normal(b.uniform, 16 * 32, 0.25);
  for (let row = 0; row < 16; row++) large[row * 32] = row % 2 ? 200 : -200;
  b.node('Gemm', ['x', b.weight('w0', [16, 16], 16)], 'h');
  b.weights.push(floatTensor('w1', [16, 32], large));
  b.node('Gemm', ['h', 'w1'], 'm');
  b.node('Tanh', ['m'], 't');
  b.node('Gemm', ['t', b.weight('w2', [32, 4], 32)], 'y');
  return {
    model: b.model([floatValue('x', [-1, 16])], [floatValue('y', [-1, 4])]),
    sample: (uniform) => ({ x: { type: 'float32', dims: [1, 16], data: normal(uniform, 16) } }),
  };
}

describe('mixed precision', () => {
  it('gives back to float what harms most, and only as much as the bound needs', async () => {
    const example = sensitive();
    const samples = samplesOf(example, 80, 3);
    const loose = await quantize(bytesOf(example), samples, { bounds: { minSqnrDb: -200, minAgreement: 0 } });
    expect(loose.report.int8Nodes).toHaveLength(3);
    const most = await quantize(bytesOf(example), samples, {
      bounds: { minSqnrDb: loose.report.sqnrDb + 3, minAgreement: 0 },
    });
    const { report } = most;
    expect(report.sqnrDb).toBeGreaterThan(loose.report.sqnrDb + 1);
    expect(report.sensitivity).toHaveLength(3);
    expect(report.sensitivity.map(({ sqnrDb }) => sqnrDb)).toEqual(
      report.sensitivity.map(({ sqnrDb }) => sqnrDb).toSorted((x, y) => x - y),
    );
    const worst = report.sensitivity[0]!.name;
    expect(report.floatNodes).toEqual([{ name: worst, reason: expect.stringContaining('costs most') }]);
    expect(report.int8Nodes).toHaveLength(2);
  });

  it('says that a bound can not be held rather than hide it', async () => {
    const example = CASES.separable(2);
    const { report } = await quantize(bytesOf(example), samplesOf(example, 40, 3), {
      bounds: { minSqnrDb: 150 },
    });
    expect(report.verdict.good).toBe(false);
    expect(report.verdict.reasons.join()).toMatch(/150 are wanted/);
  });
});

describe('what the scales promise', () => {
  it('holds: no output is further from float than half a step of each weight and input allows', async () => {
    const seed = 44;
    for (let round = 0; round < 6; round++) {
      const b = new Build(seed + round);
      const [from, to] = [8 + 5 * round, 3 + round];
      b.node('MatMul', ['x', b.weight('w', [from, to], from)], 'y');
      const float = saveGraph(
        modelOf(b.model([floatValue('x', [-1, from])], [floatValue('y', [-1, to])]).graph),
      );
      const samples = vectors(24, from, seed + round);
      const { bytes } = await quantize(float, samples, {
        calibration: { kind: 'min-max' },
        evaluate: samples.map((input) => ({ input })),
      });
      const constants = new Map(loadGraph(bytes).graph.initializer.map((t) => [t.name, t]));
      const scale = (name: string) => floatsOf(constants.get(name)!);
      const [xStep, wSteps] = [scale('x_scale')[0]!, scale('w_scale')];
      const w = floatsOf(b.weights[0]!);
      const [before, after] = [await runAll(float, samples), await runAll(bytes, samples)];
      samples.forEach((sample, s) => {
        for (let o = 0; o < to; o++) {
          let bound = 1e-5;
          for (let i = 0; i < from; i++) {
            const x = Math.abs((sample.x!.data as Float32Array)[i]!);
            // The zero point may shift one end of the range by half a step.
            bound += Math.abs(w[i * to + o]!) * xStep + ((x + xStep) * wSteps[o]!) / 2;
          }
          const away = (before[s]!.y!.data as Float32Array)[o]! - (after[s]!.y!.data as Float32Array)[o]!;
          expect(Math.abs(away), `seed ${seed}, round ${round}`).toBeLessThanOrEqual(bound);
        }
      });
    }
  });
});

describe('dynamic int8', () => {
  it('needs no range: it follows inputs that calibration never saw', async () => {
    const example = CASES.twoInputs(3);
    const float = bytesOf(example);
    const { bytes } = await quantize(float, samplesOf(example, 20, 3), { mode: 'dynamic' });
    expect(typesIn(bytes)).toContain('MatMulInteger');
    const far = samplesOf(example, 20, 4).map((sample) => ({
      ...sample,
      x: { ...sample.x!, data: (sample.x!.data as Float32Array).map((value) => value * 50) },
    }));
    expect((await compareWith(await runAll(float, far), bytes, far)).sqnrDb).toBeGreaterThan(30);
  });
});

describe('float16', () => {
  it('keeps inputs and outputs float32, halves the weights and reports what it clamped', async () => {
    const b = new Build(3);
    const w = normal(b.uniform, 24);
    w[3] = 1e6;
    b.weights.push(floatTensor('w', [6, 4], w));
    b.node('MatMul', ['x', 'w'], 'y');
    const float = saveGraph(b.model([floatValue('x', [-1, 6])], [floatValue('y', [-1, 4])]));
    const { bytes, report } = await quantize(float, vectors(20, 6, 3, 0.001), { mode: 'fp16' });
    expect(report.warnings.join()).toMatch(/1 values of `w` lie beyond/);
    const { graph } = loadGraph(bytes);
    expect([graph.input[0], graph.output[0]].map((v) => v!.type!.tensorType!.elemType)).toEqual([1, 1]);
    expect(graph.initializer.map(({ dataType, rawData }) => [dataType, rawData!.length])).toEqual([[10, 48]]);
  });
});
