/** Old operators beside what they are rewritten to, both computed by onnxruntime. */
import type { Tensors } from '@skein/agent/inference/backend.ts';
import {
  floatAttribute,
  floatTensor,
  floatValue,
  intAttribute,
  intsAttribute,
  loadGraph,
  modelOf,
  type NodeProto,
  nodeOf,
  opsetOf,
  saveGraph,
} from '@skein/agent/model/graph.ts';
import { runAll } from '@skein/agent/model/onnx-model.ts';
import { raiseOpset } from '@skein/agent/model/opset-raise.ts';
import { seededUniform } from '@skein/protocol/drift/bootstrap.ts';
import { describe, expect, it } from 'vitest';
import { normal } from './graphs.ts';

const DIMS = [2, 3, 4, 4];
const SIZE = 96;
const text = (name: string, value: string) => ({ name, type: 3, s: new TextEncoder().encode(value) });
const listOf = (name: string, floats: number[]) => ({ name, type: 6, floats });

interface Old {
  opset: number;
  nodes: NodeProto[];
  extra?: [string, number[], number[]][];
}
const one = (opset: number, opType: string, attributes: NodeProto['attribute'] = []): Old => ({
  opset,
  nodes: [nodeOf(opType, ['x'], ['y'], attributes)],
});

const CHANNELS = [0, 1, 2, 3].map((k) => [`c${k}`, [3], [0.5 + k, 1.5, 2.5]] as [string, number[], number[]]);
const OLD: Record<string, Old> = {
  'BatchNormalization with spatial': {
    opset: 8,
    nodes: [nodeOf('BatchNormalization', ['x', 'c0', 'c1', 'c2', 'c3'], ['y'], [intAttribute('spatial', 1)])],
    extra: CHANNELS,
  },
  'Clip with bounds as attributes': one(8, 'Clip', [floatAttribute('min', -0.5), floatAttribute('max', 1)]),
  'Clip with one bound': one(8, 'Clip', [floatAttribute('max', 0.25)]),
  Dropout: one(8, 'Dropout', [floatAttribute('ratio', 0.5)]),
  'Softmax over all that follows axis 1': one(11, 'Softmax'),
  'LogSoftmax over axis 2 and 3': one(11, 'LogSoftmax', [intAttribute('axis', 2)]),
  'Softmax over the last axis': one(11, 'Softmax', [intAttribute('axis', 3)]),
  Hardmax: one(11, 'Hardmax', [intAttribute('axis', 1)]),
  'Pad with a value': one(8, 'Pad', [
    intsAttribute('pads', [0, 0, 1, 0, 0, 0, 2, 1]),
    floatAttribute('value', 3),
  ]),
  'ReduceSum with axes': one(11, 'ReduceSum', [intsAttribute('axes', [1, 3]), intAttribute('keepdims', 0)]),
  'ReduceSum of everything': one(11, 'ReduceSum'),
  'Slice with axes': one(9, 'Slice', [
    intsAttribute('starts', [1, 0]),
    intsAttribute('ends', [3, 9]),
    intsAttribute('axes', [2, 1]),
  ]),
  'Slice without axes': one(9, 'Slice', [intsAttribute('starts', [0, 1]), intsAttribute('ends', [1, 3])]),
  'Squeeze and Unsqueeze': {
    opset: 11,
    nodes: [
      nodeOf('Unsqueeze', ['x'], ['u'], [intsAttribute('axes', [0, 3])]),
      nodeOf('Squeeze', ['u'], ['y'], [intsAttribute('axes', [3])]),
    ],
  },
  'Split into unequal parts': {
    opset: 11,
    nodes: [nodeOf('Split', ['x'], ['y', 'rest'], [intAttribute('axis', 1), intsAttribute('split', [2, 1])])],
  },
  'Upsample to the nearest': one(7, 'Upsample', [text('mode', 'nearest'), listOf('scales', [1, 1, 2, 3])]),
  'Upsample between two points': one(7, 'Upsample', [text('mode', 'linear'), listOf('scales', [1, 1, 2, 2])]),
  'Upsample with scales as an input': {
    opset: 9,
    nodes: [nodeOf('Upsample', ['x', 'scales'], ['y'], [text('mode', 'nearest')])],
    extra: [['scales', [4], [1, 1, 2, 2]]],
  },
  'TopK with k as attribute': {
    opset: 8,
    nodes: [nodeOf('TopK', ['x'], ['y', 'indices'], [intAttribute('k', 2), intAttribute('axis', 1)])],
  },
};

const modelFrom = ({ opset, nodes, extra = [] }: Old) =>
  saveGraph(
    modelOf(
      {
        name: 'old',
        node: nodes,
        initializer: extra.map(([name, dims, values]) => floatTensor(name, dims, Float32Array.from(values))),
        input: [floatValue('x', DIMS)],
        output: [{ name: 'y', type: { tensorType: { elemType: 1 } } }],
        valueInfo: [],
      },
      opset,
    ),
  );

describe('an old operator set', () => {
  const samples: Tensors[] = [{ x: { type: 'float32', dims: DIMS, data: normal(seededUniform(3), SIZE) } }];

  it.each(Object.entries(OLD))('%s computes the same in opset 13', async (_name, old) => {
    const bytes = modelFrom(old);
    const model = loadGraph(bytes);
    raiseOpset(model);
    expect(opsetOf(model)).toBe(13);
    const [[before], [after]] = [await runAll(bytes, samples), await runAll(saveGraph(model), samples)];
    expect(after!.y!.dims).toEqual(before!.y!.dims);
    expect(Array.from(after!.y!.data as Float32Array)).toEqual(Array.from(before!.y!.data as Float32Array));
  });

  it.each<[string, Old, RegExp]>([
    ['broadcasting by attribute', one(6, 'Relu'), /opset 6.*broadcasting/],
    ['an operator that is not known', one(9, 'TfIdfVectorizer'), /`TfIdfVectorizer` changed/],
    [
      'a mask that is used',
      { opset: 8, nodes: [nodeOf('Dropout', ['x'], ['y', 'mask']), nodeOf('Cast', ['mask'], ['m'])] },
      /mask is used/,
    ],
    [
      'a normalisation of each value',
      {
        ...OLD['BatchNormalization with spatial']!,
        nodes: [nodeOf('BatchNormalization', ['x'], ['y'], [intAttribute('spatial', 0)])],
      },
      /each value by itself/,
    ],
  ])('with %s is refused, with the reason', (_name, old, reason) => {
    const model = loadGraph(modelFrom(old));
    expect(() => raiseOpset(model)).toThrow(reason);
  });
});
