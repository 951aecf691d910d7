import {
  floatsOf,
  floatTensor,
  floatValue,
  intsAttribute,
  loadGraph,
  modelOf,
  nodeOf,
  saveGraph,
} from '@skein/agent/model/graph.ts';
import { openModel } from '@skein/agent/model/onnx-quantize.ts';
import { seededUniform } from '@skein/protocol/drift/bootstrap.ts';
import { describe, expect, it } from 'vitest';
import { type Sample, train } from '../../scripts/train/backprop.ts';
import { normal } from '../agent/model/graphs.ts';

const uniform = seededUniform(3);
const weights: Record<string, [number[], Float32Array]> = {
  w: [[3, 2, 3, 3], normal(uniform, 54, 0.2)],
  b: [[3], normal(uniform, 3, 0.2)],
  g: [[3], Float32Array.of(1, 0.5, 1.5)],
  be: [[3], Float32Array.of(0.1, -0.1, 0)],
  m: [[3], Float32Array.of(0.1, 0, -0.1)],
  v: [[3], Float32Array.of(1, 2, 0.5)],
  r: [[3, 3, 1, 1], normal(uniform, 9, 0.3)],
  d: [[3, 4], normal(uniform, 12, 0.5)],
  e: [[4], normal(uniform, 4, 0.2)],
};
const model = (changed: Record<string, Float32Array> = {}) =>
  saveGraph(
    modelOf({
      name: 'residual',
      node: [
        nodeOf(
          'Conv',
          ['x', 'w', 'b'],
          ['c'],
          [intsAttribute('strides', [2, 2]), intsAttribute('pads', [1, 1, 1, 1])],
        ),
        nodeOf('BatchNormalization', ['c', 'g', 'be', 'm', 'v'], ['n']),
        nodeOf('Relu', ['n'], ['a']),
        nodeOf('Conv', ['a', 'r'], ['s']),
        nodeOf('Add', ['a', 's'], ['t']),
        nodeOf('AveragePool', ['t'], ['p'], [intsAttribute('kernel_shape', [3, 3])]),
        nodeOf('Flatten', ['p'], ['f']),
        nodeOf('Gemm', ['f', 'd', 'e'], ['z']),
        nodeOf('Softmax', ['z'], ['y']),
      ],
      initializer: Object.entries(weights).map(([name, [dims, data]]) =>
        floatTensor(name, dims, changed[name] ?? data),
      ),
      valueInfo: [],
      input: [floatValue('x', [1, 2, 6, 6])],
      output: [floatValue('y', [1, 4])],
    }),
  );
const sample: Sample = { input: normal(uniform, 72, 0.5), label: 2 };

/** One step of plain gradient descent tells the gradient: what moved, over −rate. */
function gradientOf(name: string): Float32Array {
  const rate = 1e-3;
  const plan = { epochs: 1, batch: 1, rate, optimizer: 'momentum' as const, moves: () => true, uniform };
  const moved = loadGraph(train(model(), [1, 2, 6, 6], [sample], plan).model).graph!;
  const now = floatsOf(moved.initializer.find((tensor) => tensor.name === name)!);
  return weights[name]![1].map((was, i) => (was - now[i]!) / rate);
}

describe('training an ONNX graph', () => {
  it.each(['w', 'b', 'g', 'be', 'r', 'd', 'e'])(
    'moves %s along the slope of the loss, found by small changes',
    async (name) => {
      const loss = async (data: Float32Array): Promise<number> => {
        const session = await openModel(model({ [name]: data }));
        const { y } = await session.run({ x: { type: 'float32', dims: [1, 2, 6, 6], data: sample.input } });
        await session.close();
        return -Math.log(Number(y!.data[sample.label]));
      };
      const gradient = gradientOf(name);
      const values = weights[name]![1];
      for (const i of [0, values.length >> 1, values.length - 1]) {
        const [more, less] = [values.slice(), values.slice()];
        more[i]! += 0.01;
        less[i]! -= 0.01;
        const slope = ((await loss(more)) - (await loss(less))) / 0.02;
        expect(gradient[i]!, `${name}[${i}]`).toBeCloseTo(slope, 2);
      }
    },
  );

  it('refuses an operator that it can not train', () => {
    const other = saveGraph(
      modelOf({
        name: 'other',
        node: [nodeOf('Sigmoid', ['x'], ['y'])],
        initializer: [],
        valueInfo: [],
        input: [floatValue('x', [1, 2])],
        output: [floatValue('y', [1, 2])],
      }),
    );
    const plan = { epochs: 1, batch: 1, rate: 1, optimizer: 'adam' as const, moves: () => true, uniform };
    expect(() => train(other, [1, 2], [], plan)).toThrow(/Sigmoid/);
  });
});
