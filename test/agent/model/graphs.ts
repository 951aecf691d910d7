/** Small float graphs with seeded weights, of the kinds that people bring: the quantizer must cope with all of them. */
import type { Tensors } from '@skein/agent/inference/backend.ts';
import {
  DATA_TYPE,
  floatAttribute,
  floatTensor,
  floatValue,
  type GraphProto,
  int64Tensor,
  intAttribute,
  intsAttribute,
  type ModelProto,
  modelOf,
  type NodeProto,
  nodeOf,
  saveGraph,
  type TensorProto,
  valueInfo,
} from '@skein/agent/model/graph.ts';
import { seededUniform } from '@skein/protocol/drift/bootstrap.ts';

type Uniform = () => number;

/** Sum of uniforms: near enough to a normal distribution. */
export const normal = (uniform: Uniform, n: number, deviation = 1): Float32Array =>
  Float32Array.from({ length: n }, () => {
    let sum = -6;
    for (let i = 0; i < 12; i++) sum += uniform();
    return sum * deviation;
  });

/** Collects nodes and weights. */
export class Build {
  readonly nodes: NodeProto[] = [];
  readonly weights: TensorProto[] = [];
  readonly uniform: Uniform;

  constructor(seed: number) {
    this.uniform = seededUniform(seed);
  }

  /** Normal weights with variance 1 / fan-in, so that signals neither die nor grow. */
  weight(name: string, dims: number[], fanIn: number): string {
    const count = dims.reduce((product, dim) => product * dim, 1);
    this.weights.push(floatTensor(name, dims, normal(this.uniform, count, 1 / Math.sqrt(fanIn))));
    return name;
  }

  vector(name: string, values: Float32Array): string {
    this.weights.push(floatTensor(name, [values.length], values));
    return name;
  }

  ints(name: string, values: number[]): string {
    this.weights.push(int64Tensor(name, [values.length], values));
    return name;
  }

  scalar(name: string, value: number): string {
    this.weights.push(floatTensor(name, [], Float32Array.of(value)));
    return name;
  }

  node(opType: string, input: string[], output: string, attributes: NodeProto['attribute'] = []): string {
    this.nodes.push(nodeOf(opType, input, [output], attributes));
    return output;
  }

  conv(x: string, y: string, [from, to, size]: [number, number, number], group = 1): string {
    const pad = size >> 1;
    const inputs = [x, this.weight(`${y}_w`, [to, from / group, size, size], (from / group) * size * size)];
    return this.node('Conv', inputs, y, [
      intAttribute('group', group),
      intsAttribute('pads', [pad, pad, pad, pad]),
    ]);
  }

  norm(x: string, y: string, channels: number): string {
    const around = (name: string, centre: number) =>
      this.vector(
        `${y}_${name}`,
        normal(this.uniform, channels, 0.2).map((v) => Math.abs(centre + v)),
      );
    const inputs = [x, around('gamma', 1), around('beta', 0), around('mean', 0), around('var', 1)];
    return this.node('BatchNormalization', inputs, y);
  }

  model(input: GraphProto['input'], output: GraphProto['output'], opset = 17): ModelProto {
    const graph = { name: 'g', node: this.nodes, initializer: this.weights, input, output, valueInfo: [] };
    return modelOf(graph, opset);
  }
}

export interface Case {
  model: ModelProto;
  sample(uniform: Uniform): Tensors;
}

const floats = (dims: number[], data: Float32Array) => ({ type: 'float32' as const, dims, data });
const image = (name: string, channels: number, size: number) => (uniform: Uniform) => ({
  [name]: floats([1, channels, size, size], normal(uniform, channels * size * size)),
});

/** Convolutions with BatchNormalization, Relu6, a depthwise one, a residual sum, pooling, classes. */
export function separable(seed: number): Case {
  const b = new Build(seed);
  b.scalar('zero', 0);
  b.scalar('six', 6);
  const relu6 = (x: string) => b.node('Clip', [x, 'zero', 'six'], `${x}_r`);
  const stem = relu6(b.norm(b.conv('x', 'c1', [3, 16, 3]), 'n1', 16));
  const deep = relu6(b.norm(b.conv(stem, 'c2', [16, 16, 3], 16), 'n2', 16));
  const point = b.norm(b.conv(deep, 'c3', [16, 16, 1]), 'n3', 16);
  const sum = b.node('Add', [point, stem], 'sum');
  const pooled = b.node('GlobalAveragePool', [sum], 'pool');
  const flat = b.node('Flatten', [pooled], 'flat');
  b.node('Gemm', [flat, b.weight('wo', [10, 16], 16), b.vector('bo', normal(b.uniform, 10, 0.1))], 'y', [
    intAttribute('transB', 1),
  ]);
  return {
    model: b.model([floatValue('x', [-1, 3, 12, 12])], [floatValue('y', [-1, 10])]),
    sample: image('x', 3, 12),
  };
}

/** One block of attention: projections, a product of two activations, LayerNormalization, GELU by Erf. */
export function transformer(seed: number): Case {
  const b = new Build(seed);
  const [length, width] = [6, 16];
  const project = (x: string, y: string, to: number, from = width) =>
    b.node('MatMul', [x, b.weight(`${y}_w`, [from, to], from)], y);
  const [q, k, v] = ['q', 'k', 'v'].map((name) => project('x', name, width));
  const turned = b.node('Transpose', [k!], 'kt', [intsAttribute('perm', [0, 2, 1])]);
  const scores = b.node('MatMul', [q!, turned], 'scores');
  const scaled = b.node('Mul', [scores, b.scalar('quarter', 0.25)], 'scaled');
  const weights = b.node('Softmax', [scaled], 'attention', [intAttribute('axis', -1)]);
  const mixed = b.node('MatMul', [weights, v!], 'mixed');
  const residual = b.node('Add', [mixed, 'x'], 'residual');
  const ones = b.vector('ones', new Float32Array(width).fill(1));
  const normed = b.node('LayerNormalization', [residual, ones], 'normed', [floatAttribute('epsilon', 1e-5)]);
  const wide = b.node('Add', [project(normed, 'up', 32), b.vector('ub', normal(b.uniform, 32, 0.1))], 'wide');
  const root = b.node('Div', [wide, b.scalar('root2', Math.SQRT2)], 'root');
  const one = b.node('Add', [b.node('Erf', [root], 'erf'), b.scalar('one', 1)], 'plus');
  const gelu = b.node('Mul', [b.node('Mul', [wide, one], 'times'), b.scalar('half', 0.5)], 'gelu');
  b.node('Add', [project(gelu, 'down', width, 32), normed], 'y');
  return {
    model: b.model([floatValue('x', [-1, length, width])], [floatValue('y', [-1, length, width])]),
    sample: (uniform) => ({ x: floats([1, length, width], normal(uniform, length * width)) }),
  };
}

/** LSTM (no int8 kernel) before a dense layer. */
export function recurrent(seed: number): Case {
  const b = new Build(seed);
  const [steps, from, hidden] = [5, 4, 8];
  const inputs = [
    'x',
    b.weight('w', [1, 4 * hidden, from], from),
    b.weight('r', [1, 4 * hidden, hidden], hidden),
  ];
  b.nodes.push(nodeOf('LSTM', inputs, ['', 'last'], [intAttribute('hidden_size', hidden)]));
  const flat = b.node('Squeeze', ['last', b.ints('axis0', [0])], 'flat');
  b.node('Gemm', [flat, b.weight('wo', [hidden, 3], hidden)], 'y');
  return {
    model: b.model([floatValue('x', [steps, 1, from])], [floatValue('y', [1, 3])]),
    sample: (uniform) => ({ x: floats([steps, 1, from], normal(uniform, steps * from)) }),
  };
}

/** Token ids through an embedding, beside a second, float input; two outputs, one of them an inner tensor. */
export function twoInputs(seed: number): Case {
  const b = new Build(seed);
  b.weight('table', [20, 8], 1);
  const embedded = b.node('Gather', ['table', 'ids'], 'embedded');
  const mean = b.node('ReduceMean', [embedded], 'mean', [
    intsAttribute('axes', [1]),
    intAttribute('keepdims', 0),
  ]);
  const both = b.node('Concat', [mean, 'x'], 'both', [intAttribute('axis', 1)]);
  const hidden = b.node('Relu', [b.node('Gemm', [both, b.weight('w1', [12, 16], 12)], 'h')], 'hidden');
  b.node('Gemm', [hidden, b.weight('w2', [16, 5], 16)], 'y');
  return {
    model: b.model(
      [valueInfo('ids', DATA_TYPE.int64, [-1, 7]), floatValue('x', [-1, 4])],
      [floatValue('y', [-1, 5]), floatValue('hidden', [-1, 16])],
    ),
    sample: (uniform) => ({
      ids: {
        type: 'int64',
        dims: [1, 7],
        data: BigInt64Array.from({ length: 7 }, () => BigInt(Math.floor(uniform() * 20))),
      },
      x: floats([1, 4], normal(uniform, 4)),
    }),
  };
}

/** Sigmoid gates, Concat, a convolution whose result is the model's output, one weight used twice. */
export function gated(seed: number): Case {
  const b = new Build(seed);
  const first = b.conv('x', 'c1', [4, 8, 3]);
  const swish = b.node('Mul', [first, b.node('Sigmoid', [first], 'sig')], 'swish');
  const again = (x: string, y: string) =>
    b.node('Conv', [x, 'shared_w'], y, [intsAttribute('pads', [1, 1, 1, 1])]);
  b.weight('shared_w', [8, 8, 3, 3], 72);
  const twice = again(again(swish, 'c2'), 'c3');
  const joined = b.node('Concat', [swish, twice], 'joined', [intAttribute('axis', 1)]);
  const pooled = b.node('MaxPool', [joined], 'pooled', [
    intsAttribute('kernel_shape', [2, 2]),
    intsAttribute('strides', [2, 2]),
  ]);
  b.conv(pooled, 'y', [16, 2, 1]);
  return {
    model: b.model([floatValue('x', [-1, 4, 8, 8])], [floatValue('y', [-1, 2, 4, 4])]),
    sample: image('x', 4, 8),
  };
}

/** Loosely made: Constant weights, Identity chains, initializers among the inputs, IR 3, one-dimensional convolution. */
export function loose(seed: number): Case {
  const b = new Build(seed);
  const held = b.weight('w1', [6, 3, 3], 9);
  const constant = b.weights.find(({ name }) => name === held)!;
  b.weights.splice(b.weights.indexOf(constant), 1);
  b.nodes.push({
    ...nodeOf('Constant', [], ['w1']),
    attribute: [{ name: 'value', type: 4, t: { ...constant, name: '' } }],
  });
  b.node('Identity', ['w1'], 'w1_copy');
  b.node('Identity', ['x'], 'x_copy');
  b.node('Identity', ['x_copy'], 'x_again');
  b.node('Conv', ['x_again', 'w1_copy'], 'c', [intsAttribute('pads', [1, 1])]);
  b.node('Relu', ['c'], 'r');
  b.node('Conv', ['r', b.weight('w2', [4, 6, 3], 18)], 'y', [intsAttribute('pads', [1, 1])]);
  const inputs = [floatValue('x', [1, 3, 10]), floatValue('w2', [4, 6, 3])];
  const model = b.model(inputs, [floatValue('y', [1, 4, 10])], 9);
  model.irVersion = 3;
  return { model, sample: (uniform) => ({ x: floats([1, 3, 10], normal(uniform, 30)) }) };
}

export const CASES = { separable, transformer, recurrent, twoInputs, gated, loose };

export const samplesOf = ({ sample }: Case, count: number, seed: number): Tensors[] => {
  const uniform = seededUniform(seed);
  return Array.from({ length: count }, () => sample(uniform));
};

export const bytesOf = ({ model }: Case): Uint8Array => saveGraph(model);
