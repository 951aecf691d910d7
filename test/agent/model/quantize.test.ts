import type { Tensors } from '@skein/agent/inference/backend.ts';
import { floatTensor, floatValue, loadGraph, modelOf, nodeOf, saveGraph } from '@skein/agent/model/graph.ts';
import { compareOutputs, quantize, runAll } from '@skein/agent/model/onnx-quantize.ts';
import { activationScale } from '@skein/agent/model/ranges.ts';
import { seededUniform } from '@skein/protocol/drift/bootstrap.ts';
import { describe, expect, it } from 'vitest';

const uniform = seededUniform(11);
const random = (n: number, scale = 1) => Float32Array.from({ length: n }, () => (2 * uniform() - 1) * scale);

/** x → Gemm → Relu → Gemm. */
const twoLayers = (inputs: number, scales: Float32Array): Uint8Array => {
  const w0 = random(inputs * 16).map((w, i) => w / scales[Math.floor(i / 16)]!);
  return saveGraph(
    modelOf({
      name: 'two',
      node: [
        nodeOf('Gemm', ['x', 'w0', 'b0'], ['h']),
        nodeOf('Relu', ['h'], ['r']),
        nodeOf('Gemm', ['r', 'w1', 'b1'], ['y']),
      ],
      initializer: [
        floatTensor('w0', [inputs, 16], w0),
        floatTensor('b0', [16], random(16)),
        floatTensor('w1', [16, 4], random(64)),
        floatTensor('b1', [4], random(4)),
      ],
      input: [floatValue('x', [-1, inputs])],
      output: [floatValue('y', [-1, 4])],
      valueInfo: [],
    }),
  );
};
const inputsOf = (count: number, scales: Float32Array): Tensors[] =>
  Array.from({ length: count }, () => ({
    x: {
      type: 'float32' as const,
      dims: [1, scales.length],
      data: random(scales.length).map((value, i) => value * scales[i]!),
    },
  }));

describe('the quantizer', () => {
  it('makes a smaller model that agrees with the float one', async () => {
    const scales = new Float32Array(64).fill(1);
    const model = twoLayers(64, scales);
    const { bytes, report } = await quantize(model, inputsOf(200, scales));
    expect(report.int8Nodes).toHaveLength(2);
    expect(report.sqnrDb).toBeGreaterThan(30);
    expect(bytes.length).toBeLessThan(model.length);
    const unseen = inputsOf(100, scales);
    const outside = compareOutputs(await runAll(model, unseen), await runAll(bytes, unseen));
    expect(outside.sqnrDb).toBeGreaterThan(30);
  });

  it('is the same bytes for the same data', async () => {
    const scales = new Float32Array(8).fill(1);
    const model = twoLayers(8, scales);
    const samples = inputsOf(50, scales);
    const [a, b] = [await quantize(model, samples), await quantize(model, samples)];
    expect(a.bytes).toEqual(b.bytes);
  });

  it('leaves a layer that reads raw, unscaled sensor values in float, and says why', async () => {
    const scales = Float32Array.from({ length: 32 }, (_, i) => 10 ** (i % 7));
    const model = twoLayers(32, scales);
    const samples = inputsOf(200, scales);
    const { report } = await quantize(model, samples);
    expect(report.floatNodes).toMatchObject([
      { name: 'Gemm_h', reason: expect.stringContaining('raw, unscaled') },
    ]);
    expect(report.int8Nodes).toEqual(['Gemm_y']);
    expect(report.sqnrDb).toBeGreaterThan(25);
  });

  it('leaves out the nodes that it is told to', async () => {
    const scales = new Float32Array(8).fill(1);
    const { report } = await quantize(twoLayers(8, scales), inputsOf(50, scales), { skip: ['Gemm_y'] });
    expect(report.int8Nodes).toEqual(['Gemm_h']);
    expect(report.floatNodes).toEqual([{ name: 'Gemm_y', reason: 'as asked' }]);
  });

  it('writes weights of seven bits when the range is reduced', async () => {
    const scales = new Float32Array(8).fill(1);
    const { bytes } = await quantize(twoLayers(8, scales), inputsOf(50, scales), { reduceRange: true });
    const weights = loadGraph(bytes).graph.initializer.filter(({ name }) => name.endsWith('w0_q'));
    expect(weights).toHaveLength(1);
    expect(Math.max(...new Int8Array(Uint8Array.from(weights[0]!.rawData!).buffer))).toBeLessThanOrEqual(63);
  });

  it('refuses a model in which nothing can run in int8', async () => {
    const model = saveGraph(
      modelOf({
        name: 'relu',
        node: [nodeOf('Relu', ['x'], ['y'])],
        initializer: [],
        input: [floatValue('x', [-1, 2])],
        output: [floatValue('y', [-1, 2])],
        valueInfo: [],
      }),
    );
    await expect(quantize(model, inputsOf(2, new Float32Array(2).fill(1)))).rejects.toMatchObject({
      code: 'MODEL_INVALID',
      message: expect.stringContaining('no node'),
    });
  });

  it('refuses to calibrate on nothing', async () => {
    await expect(quantize(twoLayers(8, new Float32Array(8).fill(1)), [])).rejects.toMatchObject({
      code: 'MODEL_INVALID',
    });
  });
});

describe('calibration ranges', () => {
  it('always represent zero exactly', () => {
    for (const range of [
      [-1, 3],
      [2, 5],
      [-7, -2],
      [0, 0],
    ] as const) {
      const { scale, zero } = activationScale(range);
      expect(Number.isInteger(zero) && zero >= 0 && zero <= 255).toBe(true);
      expect(scale).toBeGreaterThan(0);
    }
    expect(activationScale([0, 255])).toEqual({ scale: 1, zero: 0 });
  });
});
