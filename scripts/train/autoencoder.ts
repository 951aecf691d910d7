/**
 * A small dense autoencoder in plain TypeScript: seeded, single-threaded, the same
 * result on every machine that rounds doubles alike. Hidden layers tanh, output linear, loss mean squared error: tanh
 * saturates, so what lies beyond the training data is not extrapolated but reconstructed badly.
 */
import { seededUniform } from '@skein/protocol/drift/bootstrap.ts';
import { Adam, shuffle } from './adam.ts';

export interface Layer {
  inputs: number;
  outputs: number;
  /** Row-major [inputs × outputs], as ONNX Gemm takes it without transposing. */
  weights: Float32Array;
  bias: Float32Array;
}

export interface TrainingOptions {
  /** Widths from input to output, e.g. [155, 48, 12, 48, 155]. */
  widths: readonly number[];
  epochs: number;
  batch: number;
  rate: number;
  seed: number;
  /** Makes the input of a window that must be mapped back to the window itself; it may return it unchanged. */
  corrupt(window: Float32Array, uniform: () => number): Float32Array;
  /** After each epoch. */
  onEpoch?(epoch: number, loss: number): void;
}

/** Glorot's initialisation, uniform. */
function makeLayers(widths: readonly number[], uniform: () => number): Layer[] {
  return widths.slice(1).map((outputs, i) => {
    const inputs = widths[i]!;
    const limit = Math.sqrt(6 / (inputs + outputs));
    const weights = Float32Array.from({ length: inputs * outputs }, () => (2 * uniform() - 1) * limit);
    return { inputs, outputs, weights, bias: new Float32Array(outputs) };
  });
}

/** out = x · W + b, then tanh unless it is the last layer. */
function forward(layer: Layer, x: Float32Array, out: Float32Array, hidden: boolean): void {
  out.set(layer.bias);
  const { inputs, outputs, weights } = layer;
  for (let i = 0; i < inputs; i++) {
    const value = x[i]!;
    if (value === 0) continue;
    const row = i * outputs;
    for (let o = 0; o < outputs; o++) out[o]! += value * weights[row + o]!;
  }
  if (hidden) for (let o = 0; o < outputs; o++) out[o] = Math.tanh(out[o]!);
}

/** Adds to the gradients and returns dL/dx in `back`. */
function backward(
  layer: Layer,
  x: Float32Array,
  error: Float32Array,
  gradient: Layer,
  back: Float32Array | undefined,
): void {
  const { inputs, outputs, weights } = layer;
  for (let o = 0; o < outputs; o++) gradient.bias[o]! += error[o]!;
  for (let i = 0; i < inputs; i++) {
    const value = x[i]!;
    const row = i * outputs;
    let sum = 0;
    for (let o = 0; o < outputs; o++) {
      gradient.weights[row + o]! += value * error[o]!;
      sum += weights[row + o]! * error[o]!;
    }
    // x is the tanh of the layer before; its derivative is 1 − x².
    if (back) back[i] = sum * (1 - value * value);
  }
}

/** The rate falls to a twentieth along half a cosine. */
const scheduled = (rate: number, progress: number): number =>
  rate * (0.05 + 0.95 * 0.5 * (1 + Math.cos(Math.PI * progress)));

export function trainAutoencoder(windows: readonly Float32Array[], options: TrainingOptions): Layer[] {
  const uniform = seededUniform(options.seed);
  const layers = makeLayers(options.widths, uniform);
  const gradients = layers.map(({ inputs, outputs }) => ({
    inputs,
    outputs,
    weights: new Float32Array(inputs * outputs),
    bias: new Float32Array(outputs),
  }));
  const adams = layers.map((layer) => [new Adam(layer.weights), new Adam(layer.bias)] as const);
  const activations = layers.map(({ outputs }) => new Float32Array(outputs));
  const errors = layers.map(({ outputs }) => new Float32Array(outputs));
  const order = Uint32Array.from(windows, (_, i) => i);
  const last = layers.length - 1;
  let time = 0;
  for (let epoch = 0; epoch < options.epochs; epoch++) {
    shuffle(order, uniform);
    const rate = scheduled(options.rate, epoch / options.epochs);
    let loss = 0;
    order.forEach((index, position) => {
      const target = windows[index]!;
      const input = options.corrupt(target, uniform);
      layers.forEach((layer, l) => {
        forward(layer, l === 0 ? input : activations[l - 1]!, activations[l]!, l < last);
      });
      const output = activations[last]!;
      for (let o = 0; o < output.length; o++) {
        const difference = output[o]! - target[o]!;
        loss += (difference * difference) / output.length;
        errors[last]![o] = (2 * difference) / output.length;
      }
      for (let l = last; l >= 0; l--) {
        const x = l === 0 ? input : activations[l - 1]!;
        backward(layers[l]!, x, errors[l]!, gradients[l]!, l === 0 ? undefined : errors[l - 1]!);
      }
      if ((position + 1) % options.batch !== 0 && position + 1 !== order.length) return;
      time++;
      adams.forEach(([weights, bias], l) => {
        weights.step(gradients[l]!.weights, rate, time, options.batch);
        bias.step(gradients[l]!.bias, rate, time, options.batch);
      });
    });
    options.onEpoch?.(epoch, loss / windows.length);
  }
  return layers;
}

/** Mean squared error of each window's reconstruction. */
export function reconstructionErrors(
  layers: readonly Layer[],
  windows: readonly Float32Array[],
): Float64Array {
  const activations = layers.map(({ outputs }) => new Float32Array(outputs));
  return Float64Array.from(windows, (input) => {
    layers.forEach((layer, l) => {
      forward(layer, l === 0 ? input : activations[l - 1]!, activations[l]!, l < layers.length - 1);
    });
    const output = activations.at(-1)!;
    return output.reduce((sum, value, o) => sum + (value - input[o]!) ** 2, 0) / output.length;
  });
}
