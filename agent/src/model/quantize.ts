/**
 * Writes static QDQ int8 into a prepared float graph: activations u8 or s8 asymmetric, weights s8 symmetric per output
 * channel, bias s32 with scale = input scale · weight scale. Pure; ranges come from calibration.
 */
import type { ComputeNode } from './compute-nodes.ts';
import {
  dimsOf,
  dropUnused,
  floatsOf,
  floatTensor,
  freshNames,
  type GraphProto,
  initializersOf,
  int8Tensor,
  int32Tensor,
  intAttribute,
  type ModelProto,
  makersOf,
  type NodeProto,
  nodeOf,
  sortNodes,
  type TensorProto,
  uint8Tensor,
} from './graph.ts';
import type { QuantizationPlan } from './quantize-plan.ts';
import { quantizeBias, quantizeWeights } from './quantize-weights.ts';
import type { ActivationScale, ActivationType } from './ranges.ts';

export interface WriteOptions {
  /** Largest weight magnitude: 127, or 63 for processors without VNNI whose 16-bit sums would saturate. */
  weightLimit: number;
  activations: ActivationType;
}

class Writer {
  readonly #graph: GraphProto;
  readonly #plan: QuantizationPlan;
  readonly #scales: ReadonlyMap<string, ActivationScale>;
  readonly #options: WriteOptions;
  readonly #constants: ReadonlyMap<string, TensorProto>;
  readonly #fresh: (base: string) => string;
  readonly #added: NodeProto[] = [];
  /** Weights that several nodes share are stored once. */
  readonly #written = new Map<string, { dequantized: string; scales: Float32Array }>();

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
    this.#constants = initializersOf(graph);
    this.#fresh = freshNames(graph);
  }

  write(): void {
    // Weights first: they look up their input by the name that the plan knows.
    for (const compute of this.#plan.compute) this.#quantizeConstants(compute);
    const int8 = new Set([...this.#plan.compute.map(({ node }) => node), ...this.#plan.following]);
    for (const name of this.#plan.pairs) this.#addPair(name, int8);
    this.#graph.node.push(...this.#added);
    this.#graph.node = sortNodes(this.#graph);
    // Shapes of intermediate tensors are inferred again by the runtime.
    this.#graph.valueInfo = [];
    dropUnused(this.#graph);
  }

  /** What only moves values has the parameters of where they came from. */
  #scaleOf(name: string): ActivationScale {
    let source = name;
    for (let i = 0; i <= this.#plan.shared.size && this.#plan.shared.has(source); i++) {
      source = this.#plan.shared.get(source)!;
    }
    const scale = this.#scales.get(source);
    if (!scale) throw new Error(`no range was measured for ${source}`);
    return scale;
  }

  #constant(tensor: TensorProto): string {
    this.#graph.initializer.push(tensor);
    return tensor.name;
  }

  /** Tensors that a graph input or a float node made keep their float readers; others are read behind the pair. */
  #addPair(name: string, int8: ReadonlySet<NodeProto>): void {
    const { scale, zero } = this.#scaleOf(name);
    const made = this.#plan.made.has(name);
    const shown = made && this.#graph.output.some((output) => output.name === name);
    const dequantized = shown ? name : this.#fresh(`${name}_dq`);
    for (const node of this.#graph.node) {
      const reads = !shown && (made || int8.has(node));
      if (reads) node.input = node.input.map((input) => (input === name ? dequantized : input));
    }
    // A graph output keeps its name behind the pair; what its maker gives is renamed.
    const source = shown ? this.#renameOutput(name) : name;
    const zeros =
      this.#options.activations === 'u8'
        ? uint8Tensor(this.#fresh(`${name}_zero`), [], Uint8Array.of(zero))
        : int8Tensor(this.#fresh(`${name}_zero`), [], Int8Array.of(zero));
    const parameters = [
      this.#constant(floatTensor(this.#fresh(`${name}_scale`), [], Float32Array.of(scale))),
      this.#constant(zeros),
    ];
    const quantized = this.#fresh(`${name}_q`);
    this.#add('QuantizeLinear', [source, ...parameters], quantized);
    this.#add('DequantizeLinear', [quantized, ...parameters], dequantized);
  }

  #renameOutput(name: string): string {
    const maker = makersOf(this.#graph).get(name)!;
    const renamed = this.#fresh(`${name}_float`);
    maker.output = maker.output.map((output) => (output === name ? renamed : output));
    return renamed;
  }

  #add(opType: string, input: string[], output: string, axis?: number): void {
    const attributes = axis === undefined ? [] : [intAttribute('axis', axis)];
    this.#added.push({
      ...nodeOf(opType, input, [output], attributes),
      name: this.#fresh(`${opType}_${output}`),
    });
  }

  #quantizeConstants(compute: ComputeNode): void {
    const { node, weight, bias } = compute;
    if (!weight) return;
    const inputScale = this.#scaleOf(compute.inputs[0]!).scale;
    const tensor = this.#constants.get(weight)!;
    const biases = bias ? this.#biasOf(bias, tensor, compute.axis) : undefined;
    const { dequantized, scales } = this.#weight(compute, tensor, biases, inputScale);
    node.input[1] = dequantized;
    if (!biases) return;
    const { values, scales: biasScales } = quantizeBias(biases, scales, inputScale);
    const base = `${node.output[0]}_${bias}`;
    const quantized = this.#constant(int32Tensor(this.#fresh(`${base}_q`), [values.length], values));
    const zeros = new Int32Array(values.length);
    const zero = this.#constant(int32Tensor(this.#fresh(`${base}_zero`), [values.length], zeros));
    node.input[2] = this.#dequantize(base, quantized, biasScales, zero, 0);
  }

  /** One number a channel. */
  #biasOf(name: string, weight: TensorProto, axis: number | undefined): Float32Array {
    const values = floatsOf(this.#constants.get(name)!);
    const channels = axis === undefined ? values.length : dimsOf(weight)[axis]!;
    return values.length === channels ? values : new Float32Array(channels).fill(values[0]!);
  }

  #weight(
    { weight, axis }: ComputeNode,
    tensor: TensorProto,
    bias: Float32Array | undefined,
    inputScale: number,
  ) {
    const dims = dimsOf(tensor);
    const limit = this.#options.weightLimit;
    const request = { weights: floatsOf(tensor), dims, axis, limit, bias, inputScale };
    const { values, scales } = quantizeWeights(request);
    const key = `${weight} ${axis} ${scales.join()}`;
    const before = this.#written.get(key);
    if (before) return before;
    const quantized = this.#constant(int8Tensor(this.#fresh(`${weight}_q`), dims, values));
    const perChannel = axis !== undefined;
    const zeroDims = perChannel ? [scales.length] : [];
    const zeros = int8Tensor(this.#fresh(`${weight}_zero`), zeroDims, new Int8Array(scales.length));
    const dequantized = this.#dequantize(weight!, quantized, scales, this.#constant(zeros), axis);
    const written = { dequantized, scales };
    this.#written.set(key, written);
    return written;
  }

  #dequantize(base: string, quantized: string, scales: Float32Array, zero: string, axis?: number): string {
    const dims = axis === undefined ? [] : [scales.length];
    const scale = this.#constant(floatTensor(this.#fresh(`${base}_scale`), dims, scales));
    const dequantized = this.#fresh(`${base}_dq`);
    this.#add('DequantizeLinear', [quantized, scale, zero], dequantized, axis);
    return dequantized;
  }
}

/** Changes `model` in place; it must have been prepared. @param scales of every tensor in `plan.pairs`. */
export function writeQuantized(
  model: ModelProto,
  plan: QuantizationPlan,
  scales: ReadonlyMap<string, ActivationScale>,
  options: WriteOptions = { weightLimit: 127, activations: 'u8' },
): void {
  new Writer(model.graph, plan, scales, options).write();
}
