import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  floatTensor,
  floatValue,
  type GraphProto,
  int8Tensor,
  loadGraph,
  modelOf,
  nodeOf,
  saveGraph,
} from '@skein/agent/model/graph.ts';
import { graphFacts } from '@skein/agent/model/inspect-graph.ts';
import { runInspect } from '@skein/agent/model/run-inspect.ts';
import { afterAll, describe, expect, it } from 'vitest';
import { scaleModel } from '../inference/models.ts';

const dir = mkdtempSync(join(tmpdir(), 'skein-inspect-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const graphOf = (part: Partial<GraphProto>): GraphProto => ({
  name: 'g',
  node: [nodeOf('Gemm', ['x', 'w'], ['y'])],
  initializer: [floatTensor('w', [2, 3], Float32Array.of(0, 1, 0, 2, 0, 3))],
  input: [floatValue('x', [-1, 2])],
  output: [floatValue('y', [-1, 3])],
  valueInfo: [],
  ...part,
});
const factsOf = (part: Partial<GraphProto>, opset = 17) =>
  graphFacts(loadGraph(saveGraph(modelOf(graphOf(part), opset))), () => false);
const inspected = (name: string, bytes: Uint8Array) => {
  writeFileSync(join(dir, name), bytes);
  return runInspect(join(dir, name));
};

describe('inspecting a model', () => {
  it('counts operators, parameters, zeros and multiply-accumulates', async () => {
    const found = await inspected('gemm.onnx', saveGraph(modelOf(graphOf({}))));
    expect(found).toMatchObject({
      opset: 17,
      opsets: { 'ai.onnx': 17 },
      ir: 8,
      producer: 'skein-model',
      inputs: ['x: float32[N, 2]'],
      outputs: ['y: float32[N, 3]'],
      operators: { Gemm: 1 },
      parameters: 6,
      weights: { float32: 6 },
      weightBytes: 24,
      sparsity: 0.5,
      macs: 6,
      quantized: 'no',
      problems: [],
    });
    expect(found.largestWeights).toEqual([{ name: 'w', type: 'float32', shape: [2, 3], sparsity: 0.5 }]);
  });

  it('tells weights of one scale from those of one a channel', () => {
    const scaled = (scales: number[]) =>
      factsOf({
        node: [nodeOf('DequantizeLinear', ['q', 's'], ['w']), nodeOf('Gemm', ['x', 'w'], ['y'])],
        initializer: [
          int8Tensor('q', [2, 3], new Int8Array(6)),
          floatTensor('s', scales.length > 1 ? [scales.length] : [], Float32Array.from(scales)),
        ],
      }).quantized;
    expect(scaled([1])).toBe('QDQ, weights per tensor');
    expect(scaled([1, 2, 3])).toBe('QDQ, weights per channel');
    expect(factsOf({ node: [nodeOf('MatMulInteger', ['x', 'w'], ['y'])] }).quantized).toBe('dynamic');
  });

  it.each([
    [
      'NaN in a weight',
      { initializer: [floatTensor('w', [2, 3], new Float32Array(6).fill(Number.NaN))] },
      /NaN or infinity in the weights of `w`/,
    ],
    [
      'a weight that nothing uses',
      { initializer: [...graphOf({}).initializer, floatTensor('v', [1], Float32Array.of(1))] },
      /nothing uses: `v`/,
    ],
    [
      'values that do not fill the shape',
      { initializer: [floatTensor('w', [2, 3], new Float32Array(5))] },
      /fewer or more values/,
    ],
    [
      'free dimensions behind the first',
      { input: [floatValue('x', [-1, -1])] },
      /x: float32\[N, .*\] has free dimensions/,
    ],
    [
      'a domain of its own',
      { node: [{ ...nodeOf('Secret', ['x', 'w'], ['y']), domain: 'com.example' }] },
      /custom domain `com.example`/,
    ],
  ] as [string, Partial<GraphProto>, RegExp][])('names %s', (_what, part, words) => {
    expect(factsOf(part).problems.join('\n')).toMatch(words);
  });

  it.each([
    [6, /older than onnxruntime runs/],
    [11, /per-channel int8 needs 13/],
  ])('names what opset %i means', (opset, words) => {
    expect(factsOf({}, opset).problems.join('\n')).toMatch(words);
  });

  it('works on a model that the runtime refuses, and says why it does', async () => {
    const odd = saveGraph(modelOf(graphOf({ node: [nodeOf('NoSuchOperator', ['x', 'w'], ['y'])] })));
    const found = await inspected('odd.onnx', odd);
    expect(found).toMatchObject({ operators: { NoSuchOperator: 1 }, macs: null });
    expect(found.problems.join('\n')).toMatch(/onnxruntime refuses it: .*NoSuchOperator/);
  });

  it('names the file that holds its weights, and whether it is there', async () => {
    const model = loadGraph(saveGraph(modelOf(graphOf({}))));
    const weight = model.graph.initializer[0]!;
    weight.dataLocation = 1;
    weight.rawData = new Uint8Array();
    const text = (id: number, value: string) => [
      id * 8 + 2,
      value.length,
      ...new TextEncoder().encode(value),
    ];
    weight.externalData = [Uint8Array.from([...text(1, 'location'), ...text(2, 'w.bin')])];
    const bytes = saveGraph(model);
    expect((await inspected('out.onnx', bytes)).problems[0]).toBe(
      'weights are missing: they are in another file, `w.bin`, which is not there',
    );
    writeFileSync(join(dir, 'w.bin'), new Uint8Array(24));
    expect((await inspected('out.onnx', bytes)).problems[0]).toMatch(
      /save the model with its weights inside/,
    );
  });

  it('refuses what is no model', async () => {
    await expect(inspected('text.onnx', new TextEncoder().encode('hello'))).rejects.toMatchObject({
      code: 'MODEL_INVALID',
    });
    await expect(inspected('cut.onnx', scaleModel(3, 2).subarray(0, 20))).rejects.toMatchObject({
      code: 'MODEL_INVALID',
    });
  });
});
