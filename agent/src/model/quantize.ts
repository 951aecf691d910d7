/**
 * Writes static QDQ int8 into a prepared float graph: activations u8 asymmetric, weights s8 symmetric per output
 * channel, bias s32 with scale = input scale · weight scale. Pure; ranges come from calibration.
 */
import {
  dimsOf,
  dropUnused,
  floatsOf,
  floatTensor,
  type GraphProto,
  initializersOf,
  int8Tensor,
  int32Tensor,
  intAttribute,
  type ModelProto,
  type NodeProto,
  nodeOf,
  sortNodes,
  uint8Tensor,
} from './graph.ts';
import type { ComputeNode, QuantizationPlan } from './quantize-plan.ts';
import type { ActivationScale } from './ranges.ts';

/** Weights per output channel: scale = max |w| / limit; an all-zero channel takes scale 1. */
function quantizeWeights(weights: Float32Array, dims: readonly number[], axis: number, limit: number) {
  const channels = dims[axis]!;
  const inner = dims.slice(axis + 1).reduce((product, dim) => product * dim, 1);
  const channelOf = (i: number) => Math.floor(i / inner) % channels;
  const largest = new Float32Array(channels);
  weights.forEach((w, i) => {
    const c = channelOf(i);
    largest[c] = Math.max(largest[c]!, Math.abs(w));
  });
  const scales = largest.map((value) => value / limit || 1);
  const values = Int8Array.from(weights, (w, i) =>
    Math.max(-limit, Math.min(limit, Math.round(w / scales[channelOf(i)]!))),
  );
  return { values, scales };
}

const INT32_MAX = 2 ** 31 - 1;

export interface WriteOptions {
  /** Largest weight magnitude: 127, or 63 for processors without VNNI whose 16-bit sums would saturate. */
  weightLimit: number;
}

class Writer {
  readonly #graph: GraphProto;
  readonly #plan: QuantizationPlan;
  readonly #scales: ReadonlyMap<string, ActivationScale>;
  readonly #options: WriteOptions;
  readonly #added: NodeProto[] = [];

  constructor(
    graph: GraphProto,
    plan: QuantizationPlan,
    scales: ReadonlyMap<string, ActivationScale>,
    options: WriteOptions,
  ) {
    this.#graph = graph;
    this.#plan = plan;
    this.#scales = scales;
    this.#options = options;
  }

  write(): void {
    const made = this.#madeInInt8();
    for (const name of this.#plan.pairs) this.#addPair(name, made.has(name));
    for (const compute of this.#plan.compute) this.#quantizeConstants(compute);
    this.#graph.node.push(...this.#added);
    this.#graph.node = sortNodes(this.#graph);
    // Shapes of intermediate tensors are inferred again by the runtime.
    this.#graph.valueInfo = [];
    dropUnused(this.#graph);
  }

  #scaleOf(name: string): ActivationScale {
    const scale = this.#scales.get(this.#plan.shared.get(name) ?? name) ?? this.#scales.get(name);
    if (!scale) throw new Error(`no range was measured for ${name}`);
    return scale;
  }

  /** Tensors that a graph input or a float node made keep their float readers. */
  #madeInInt8(): Set<string> {
    const float = new Set(this.#graph.input.map(({ name }) => name));
    return new Set([...this.#plan.pairs].filter((name) => !float.has(name)));
  }

  #addPair(name: string, forAll: boolean): void {
    const { scale, zero } = this.#scaleOf(name);
    this.#graph.initializer.push(floatTensor(`${name}_scale`, [], Float32Array.of(scale)));
    this.#graph.initializer.push(uint8Tensor(`${name}_zero`, [], Uint8Array.of(zero)));
    const parameters = [`${name}_scale`, `${name}_zero`];
    const int8 = new Set(this.#plan.compute.map(({ node }) => node));
    for (const node of this.#graph.node) {
      const reads = forAll || int8.has(node);
      if (reads) node.input = node.input.map((input) => (input === name ? `${name}_dq` : input));
    }
    this.#added.push(
      nodeOf('QuantizeLinear', [name, ...parameters], [`${name}_q`]),
      nodeOf('DequantizeLinear', [`${name}_q`, ...parameters], [`${name}_dq`]),
    );
  }

  #quantizeConstants({ node, input, weight, bias, axis }: ComputeNode): void {
    const constants = initializersOf(this.#graph);
    const tensor = constants.get(weight)!;
    const dims = dimsOf(tensor);
    const { values, scales } = quantizeWeights(floatsOf(tensor), dims, axis, this.#options.weightLimit);
    const base = `${node.output[0]}_${weight}`;
    this.#graph.initializer.push(int8Tensor(`${base}_q`, dims, values));
    node.input[1] = this.#dequantize(base, scales, axis, (zero) =>
      int8Tensor(zero, [scales.length], new Int8Array(scales.length)),
    );
    if (!bias) return;
    const inputScale = this.#scaleOf(input).scale;
    const biasScales = scales.map((scale) => scale * inputScale);
    const biasBase = `${node.output[0]}_${bias}`;
    const biases = Int32Array.from(floatsOf(constants.get(bias)!), (value, c) =>
      Math.max(-INT32_MAX, Math.min(INT32_MAX, Math.round(value / biasScales[c]!))),
    );
    this.#graph.initializer.push(int32Tensor(`${biasBase}_q`, [biases.length], biases));
    node.input[2] = this.#dequantize(biasBase, biasScales, 0, (zero) =>
      int32Tensor(zero, [biases.length], new Int32Array(biases.length)),
    );
  }

  #dequantize(
    base: string,
    scales: Float32Array,
    axis: number,
    zeros: (name: string) => GraphProto['initializer'][number],
  ): string {
    this.#graph.initializer.push(
      floatTensor(`${base}_scale`, [scales.length], scales),
      zeros(`${base}_zero`),
    );
    const inputs = [`${base}_q`, `${base}_scale`, `${base}_zero`];
    this.#added.push(nodeOf('DequantizeLinear', inputs, [`${base}_dq`], [intAttribute('axis', axis)]));
    return `${base}_dq`;
  }
}

/** Changes `model` in place; it must have been prepared. @param scales of every tensor in `plan.pairs`. */
export function writeQuantized(
  model: ModelProto,
  plan: QuantizationPlan,
  scales: ReadonlyMap<string, ActivationScale>,
  options: WriteOptions = { weightLimit: 127 },
): void {
  new Writer(model.graph, plan, scales, options).write();
}
