/**
 * Trains what an ONNX graph holds: every operator below knows how to run forwards on one sample and how to send the
 * error back. It is here to make real fine-tunes of real models, not to be quick. Statistics of a batch normalization
 * stay as they are, as in most fine-tunes; everything else that is float may move.
 */
import {
  dimsOf,
  floatOf,
  floatsOf,
  floatTensor,
  intOf,
  intsOf,
  loadGraph,
  type NodeProto,
  nodeName,
  saveGraph,
} from '@skein/agent/model/graph.ts';
import { Adam, shuffle } from './adam.ts';

export interface Sample {
  input: Float32Array;
  label: number;
}

/** An activation or a parameter of one sample, with dL/d of each number. */
interface Value {
  dims: number[];
  data: Float32Array;
  gradient: Float32Array;
}

interface Layer {
  forward(): void;
  backward(): void;
}
/** Made once: shapes are those of one sample. */
type Operator = (node: NodeProto, inputs: Value[]) => { output: Value } & Layer;

const sizeOf = (dims: readonly number[]): number => dims.reduce((product, dim) => product * dim, 1);
const zeros = (dims: number[]): Value => ({
  dims,
  data: new Float32Array(sizeOf(dims)),
  gradient: new Float32Array(sizeOf(dims)),
});

/** The same numbers under another shape. */
const view = (dims: number[], { data, gradient }: Value): Value => ({ dims, data, gradient });
const nothing = (): void => {};

/** Elementwise with a second operand that repeats: of the same shape, or one per channel. */
const withSecond = (
  combine: (a: number, b: number) => number,
  toFirst: (b: number) => number,
  toSecond: (a: number) => number,
): Operator => {
  return (_, [a, b]) => {
    const [first, second] = [a!, b!];
    const output = zeros(first.dims);
    // [C, 1, 1] against [1, C, H, W]; otherwise the last dimensions agree.
    const repeat =
      second.data.length > 1 && second.dims.at(-1) === 1 ? first.data.length / second.data.length : 1;
    const at = (i: number): number => Math.floor(i / repeat) % second.data.length;
    return {
      output,
      forward() {
        for (let i = 0; i < output.data.length; i++)
          output.data[i] = combine(first.data[i]!, second.data[at(i)]!);
      },
      backward() {
        for (let i = 0; i < output.data.length; i++) {
          const error = output.gradient[i]!;
          first.gradient[i]! += error * toFirst(second.data[at(i)]!);
          second.gradient[at(i)]! += error * toSecond(first.data[i]!);
        }
      },
    };
  };
};

/** y = x · W (+ b), x [1, n], W [n, m]. */
const dense: Operator = (_, [x, w, b]) => {
  const [input, weights] = [x!, w!];
  const [rows, columns] = weights.dims as [number, number];
  const output = zeros([1, columns]);
  return {
    output,
    forward() {
      if (b) output.data.set(b.data);
      else output.data.fill(0);
      for (let r = 0; r < rows; r++) {
        const value = input.data[r]!;
        if (value === 0) continue;
        for (let c = 0, at = r * columns; c < columns; c++, at++)
          output.data[c]! += value * weights.data[at]!;
      }
    },
    backward() {
      if (b) for (let c = 0; c < columns; c++) b.gradient[c]! += output.gradient[c]!;
      for (let r = 0; r < rows; r++) {
        const value = input.data[r]!;
        let sum = 0;
        for (let c = 0, at = r * columns; c < columns; c++, at++) {
          const error = output.gradient[c]!;
          sum += error * weights.data[at]!;
          if (value !== 0) weights.gradient[at]! += error * value;
        }
        input.gradient[r]! += sum;
      }
    },
  };
};

interface Window {
  kernel: [number, number];
  stride: [number, number];
  /** Before the first row and column. */
  pad: [number, number];
  /** Rows and columns of the outcome. */
  out: [number, number];
}

function windowOf(node: NodeProto, input: Value, kernel: [number, number]): Window {
  const stride = (intsOf(node, 'strides') ?? [1, 1]) as [number, number];
  const size = input.dims.slice(-2) as [number, number];
  const pads = intsOf(node, 'pads') ?? [0, 0, 0, 0];
  const same =
    new TextDecoder().decode(node.attribute.find(({ name }) => name === 'auto_pad')?.s) === 'SAME_UPPER';
  const along = (i: 0 | 1): { pad: number; out: number } => {
    if (!same) {
      const out = Math.floor((size[i] + pads[i]! + pads[i + 2]! - kernel[i]) / stride[i]) + 1;
      return { pad: pads[i]!, out };
    }
    const out = Math.ceil(size[i] / stride[i]);
    return { pad: Math.floor(Math.max(0, (out - 1) * stride[i] + kernel[i] - size[i]) / 2), out };
  };
  const [rows, columns] = [along(0), along(1)];
  return { kernel, stride, pad: [rows.pad, columns.pad], out: [rows.out, columns.out] };
}

/** From which output on, and up to which, a kernel's place `k` lies inside of `size`. */
const inside = (size: number, out: number, k: number, stride: number, pad: number): [number, number] => [
  Math.max(0, Math.ceil((pad - k) / stride)),
  Math.min(out, Math.floor((size - 1 + pad - k) / stride) + 1),
];

/** Calls `row` for each row of outputs that meets the input under one weight. */
function eachRow(
  { kernel: [kh, kw], stride: [sh, sw], pad: [ph, pw], out: [oh, ow] }: Window,
  [channels, height, width]: [number, number, number],
  outputs: number,
  row: (weight: number, from: number, to: number, inputAt: number, step: number) => void,
): void {
  for (let o = 0; o < outputs; o++)
    for (let c = 0; c < channels; c++)
      for (let ky = 0; ky < kh; ky++)
        for (let kx = 0; kx < kw; kx++) {
          const weight = ((o * channels + c) * kh + ky) * kw + kx;
          const [y0, y1] = inside(height, oh, ky, sh, ph);
          const [x0, x1] = inside(width, ow, kx, sw, pw);
          for (let y = y0; y < y1; y++) {
            const at = (o * oh + y) * ow;
            const line = (c * height + y * sh + ky - ph) * width;
            row(weight, at + x0, at + x1, line + x0 * sw + kx - pw, sw);
          }
        }
}

const conv: Operator = (node, [x, w, b]) => {
  const [input, weights] = [x!, w!];
  const [outputs, channels, kh, kw] = weights.dims as [number, number, number, number];
  if (intOf(node, 'group', 1) !== 1) throw new RangeError(`${nodeName(node)} has groups`);
  const window = windowOf(node, input, [kh, kw]);
  const shape = [channels, input.dims[2]!, input.dims[3]!] as [number, number, number];
  const plane = window.out[0] * window.out[1];
  const output = zeros([1, outputs, ...window.out]);
  const [a, g] = [input.data, input.gradient];
  return {
    output,
    forward() {
      const out = output.data;
      for (let o = 0; o < outputs; o++) out.fill(b ? b.data[o]! : 0, o * plane, (o + 1) * plane);
      eachRow(window, shape, outputs, (weight, from, to, inputAt, step) => {
        const value = weights.data[weight]!;
        for (let i = from, at = inputAt; i < to; i++, at += step) out[i]! += value * a[at]!;
      });
    },
    backward() {
      const errors = output.gradient;
      if (b) for (let i = 0; i < errors.length; i++) b.gradient[Math.floor(i / plane)]! += errors[i]!;
      eachRow(window, shape, outputs, (weight, from, to, inputAt, step) => {
        const value = weights.data[weight]!;
        let sum = 0;
        for (let i = from, at = inputAt; i < to; i++, at += step) {
          const error = errors[i]!;
          sum += error * a[at]!;
          g[at]! += error * value;
        }
        weights.gradient[weight]! += sum;
      });
    },
  };
};

/** y = (x − m) / √(v + ε) · g + b per channel, with m and v as they are. */
const batchNormalization: Operator = (node, [x, scale, shift, mean, variance]) => {
  const input = x!;
  const output = zeros(input.dims);
  const plane = input.data.length / scale!.data.length;
  const factors = variance!.data.map((v) => 1 / Math.sqrt(v + floatOf(node, 'epsilon', 1e-5)));
  return {
    output,
    forward() {
      for (let i = 0; i < output.data.length; i++) {
        const c = Math.floor(i / plane);
        output.data[i] = (input.data[i]! - mean!.data[c]!) * factors[c]! * scale!.data[c]! + shift!.data[c]!;
      }
    },
    backward() {
      for (let i = 0; i < output.data.length; i++) {
        const c = Math.floor(i / plane);
        const error = output.gradient[i]!;
        scale!.gradient[c]! += error * (input.data[i]! - mean!.data[c]!) * factors[c]!;
        shift!.gradient[c]! += error;
        input.gradient[i]! += error * factors[c]! * scale!.data[c]!;
      }
    },
  };
};

const relu: Operator = (_, [x]) => {
  const input = x!;
  const output = zeros(input.dims);
  return {
    output,
    forward: () => output.data.set(input.data.map((value) => (value > 0 ? value : 0))),
    backward() {
      for (let i = 0; i < output.data.length; i++)
        if (input.data[i]! > 0) input.gradient[i]! += output.gradient[i]!;
    },
  };
};

/** Mean of each channel's whole plane. */
const averagePool: Operator = (node, [x]) => {
  const input = x!;
  const [, channels, height, width] = input.dims as [number, number, number, number];
  const [kh, kw] = intsOf(node, 'kernel_shape') ?? [height, width];
  if (kh !== height || kw !== width) throw new RangeError(`${nodeName(node)} pools parts of a plane`);
  const output = zeros([1, channels, 1, 1]);
  const plane = height * width;
  return {
    output,
    forward() {
      output.data.fill(0);
      for (let i = 0; i < input.data.length; i++)
        output.data[Math.floor(i / plane)]! += input.data[i]! / plane;
    },
    backward() {
      for (let i = 0; i < input.data.length; i++)
        input.gradient[i]! += output.gradient[Math.floor(i / plane)]! / plane;
    },
  };
};

/** NHWC to NCHW, before anything that learns: no error goes back. */
const transpose: Operator = (_, [x]) => {
  const input = x!;
  const [, height, width, channels] = input.dims as [number, number, number, number];
  const output = zeros([1, channels, height, width]);
  return {
    output,
    forward() {
      for (let i = 0; i < input.data.length; i++)
        output.data[(i % channels) * height * width + Math.floor(i / channels)] = input.data[i]!;
    },
    backward: nothing,
  };
};

const reshaped: Operator = (_, [x]) => ({
  output: view([1, x!.data.length], x!),
  forward: nothing,
  backward: nothing,
});

const OPERATORS: Record<string, Operator> = {
  Add: withSecond(
    (a, b) => a + b,
    () => 1,
    () => 1,
  ),
  Sub: withSecond(
    (a, b) => a - b,
    () => 1,
    () => -1,
  ),
  Mul: withSecond(
    (a, b) => a * b,
    (b) => b,
    (a) => a,
  ),
  Gemm: dense,
  MatMul: dense,
  Conv: conv,
  BatchNormalization: batchNormalization,
  Relu: relu,
  AveragePool: averagePool,
  Transpose: transpose,
  Flatten: reshaped,
};

export interface TrainingPlan {
  epochs: number;
  batch: number;
  rate: number;
  /** Decoupled weight decay of each step, as AdamW's. */
  decay?: number;
  optimizer: 'adam' | 'momentum';
  /** Initializers that move. */
  moves: (name: string) => boolean;
  uniform: () => number;
}

/** Plain gradient descent with momentum 0.9. */
class Momentum {
  readonly #values: Float32Array;
  readonly #velocity: Float32Array;

  constructor(values: Float32Array) {
    this.#values = values;
    this.#velocity = new Float32Array(values.length);
  }

  step(gradient: Float32Array, rate: number, _time: number, batch: number): void {
    for (let i = 0; i < gradient.length; i++) {
      const velocity = 0.9 * this.#velocity[i]! + gradient[i]! / batch;
      this.#velocity[i] = velocity;
      this.#values[i]! -= rate * velocity;
      gradient[i] = 0;
    }
  }
}

/** dL/d of the logits of cross-entropy after softmax. */
function softmaxError({ data, gradient }: Value, label: number): void {
  const highest = data.reduce((most, value) => Math.max(most, value), -Infinity);
  const powers = data.map((value) => Math.exp(value - highest));
  const sum = powers.reduce((total, value) => total + value, 0);
  powers.forEach((power, i) => {
    gradient[i] = power / sum - (i === label ? 1 : 0);
  });
}

/** @param shape of one sample at the graph's input; @returns the model with moved weights, and the last epoch's accuracy */
export function train(
  model: Uint8Array,
  shape: number[],
  samples: readonly Sample[],
  { epochs, batch, rate, decay = 0, optimizer, moves, uniform }: TrainingPlan,
): { model: Uint8Array; accuracy: number } {
  const proto = loadGraph(model);
  const graph = proto.graph!;
  const values = new Map<string, Value>();
  for (const tensor of graph.initializer) {
    if (tensor.dataType === 1)
      values.set(tensor.name, { ...zeros(dimsOf(tensor)), data: floatsOf(tensor).slice() });
  }
  const input = zeros(shape);
  values.set(graph.input.find(({ name }) => !values.has(name))!.name, input);
  const layers = graph.node
    .filter(({ opType }) => opType !== 'Softmax')
    .map((node) => {
      const operator = OPERATORS[node.opType];
      if (!operator) throw new RangeError(`${nodeName(node)}: nothing here trains ${node.opType}`);
      const layer = operator(
        node,
        node.input.map((name) => values.get(name)!),
      );
      values.set(node.output[0]!, layer.output);
      return layer;
    });
  const logits = layers.at(-1)!.output;
  const parameters = graph.initializer.filter(({ name }) => values.has(name) && moves(name));
  const steps = parameters.map(({ name }) => {
    const { data, gradient } = values.get(name)!;
    return { data, gradient, by: optimizer === 'adam' ? new Adam(data) : new Momentum(data) };
  });
  const order = Uint32Array.from(samples, (_, i) => i);
  let time = 0;
  let right = 0;
  for (let epoch = 0; epoch < epochs; epoch++) {
    shuffle(order, uniform);
    right = 0;
    order.forEach((index, position) => {
      const sample = samples[index]!;
      input.data.set(sample.input);
      for (const layer of layers) {
        layer.output.gradient.fill(0);
        layer.forward();
      }
      if (logits.data.indexOf(Math.max(...logits.data)) === sample.label) right++;
      softmaxError(logits, sample.label);
      for (const layer of layers.toReversed()) layer.backward();
      if ((position + 1) % batch !== 0 && position + 1 !== order.length) return;
      time++;
      for (const { data, gradient, by } of steps) {
        if (decay > 0) for (let i = 0; i < data.length; i++) data[i]! *= 1 - rate * decay;
        by.step(gradient, rate, time, batch);
      }
    });
  }
  const trained = new Set(parameters.map(({ name }) => name));
  graph.initializer = graph.initializer.map((tensor) =>
    trained.has(tensor.name)
      ? floatTensor(tensor.name, dimsOf(tensor), values.get(tensor.name)!.data)
      : tensor,
  );
  return { model: saveGraph(proto), accuracy: right / samples.length };
}
