/**
 * Chosen nodes computed in float16: their float32 weights are stored in half the bytes, Casts stand where float32 goes
 * in or out. A model's inputs and outputs stay float32. Pure; the graph is changed in place.
 */

import { toFloat16 } from './float16.ts';
import {
  DATA_TYPE,
  dimsOf,
  dropUnused,
  float16Tensor,
  floatsOf,
  freshNames,
  type GraphProto,
  initializersOf,
  intAttribute,
  isStandard,
  type NodeProto,
  nodeOf,
  readersOf,
  sortNodes,
} from './graph.ts';

/** All of whose float inputs and outputs are of one type, and which neither sum long rows nor raise to powers. */
const IN_HALF = new Set(
  [
    'Abs Add AveragePool Clip Concat Conv ConvTranspose Div Elu Expand Flatten Gather Gemm GlobalAveragePool',
    'GlobalMaxPool HardSigmoid HardSwish Identity LeakyRelu MatMul Max MaxPool Min Mul Neg PRelu Pad Relu Reshape',
    'Selu Sigmoid Slice Split Squeeze Sub Tanh Transpose Unsqueeze',
  ].flatMap((line) => line.split(' ')),
);

export const canBeHalf = (node: NodeProto, isFloat: (name: string) => boolean): boolean =>
  isStandard(node) && IN_HALF.has(node.opType) && node.output.some((name) => name && isFloat(name));

export interface HalfReport {
  clamped: Map<string, number>;
  vanished: number;
}

class HalfWriter {
  readonly #graph: GraphProto;
  readonly #isFloat: (name: string) => boolean;
  readonly #fresh: (base: string) => string;
  readonly #halves = new Map<string, string>();
  readonly #added: NodeProto[] = [];
  readonly report: HalfReport = { clamped: new Map(), vanished: 0 };

  constructor(graph: GraphProto, isFloat: (name: string) => boolean) {
    this.#graph = graph;
    this.#isFloat = isFloat;
    this.#fresh = freshNames(graph);
  }

  write(chosen: ReadonlySet<NodeProto>): void {
    const constants = initializersOf(this.#graph);
    const isHalf = (name: string) =>
      name !== '' && (this.#isFloat(name) || constants.get(name)?.dataType === DATA_TYPE.float);
    const made = [...chosen].flatMap(({ output }) => output.filter(isHalf));
    for (const name of made) this.#halves.set(name, this.#fresh(`${name}_f16`));
    const inFloat = this.#readInFloat(chosen);
    for (const node of chosen) {
      node.input = node.input.map((name) => (isHalf(name) ? this.#halfOf(name) : name));
      node.output = node.output.map((name) => this.#halves.get(name) ?? name);
    }
    for (const name of made.filter((output) => inFloat.has(output))) {
      this.#cast(this.#halves.get(name)!, name, DATA_TYPE.float);
    }
    this.#graph.node.push(...this.#added);
    this.#graph.node = sortNodes(this.#graph);
    dropUnused(this.#graph);
  }

  #readInFloat(chosen: ReadonlySet<NodeProto>): Set<string> {
    const names = new Set(this.#graph.output.map(({ name }) => name));
    for (const [name, nodes] of readersOf(this.#graph)) {
      if (nodes.some((node) => !chosen.has(node))) names.add(name);
    }
    return names;
  }

  #halfOf(name: string): string {
    const known = this.#halves.get(name);
    if (known) return known;
    const half = this.#fresh(`${name}_f16`);
    this.#halves.set(name, half);
    const tensor = initializersOf(this.#graph).get(name);
    if (tensor) this.#store(half, name, dimsOf(tensor), floatsOf(tensor));
    else this.#cast(name, half, DATA_TYPE.float16);
    return half;
  }

  #store(half: string, name: string, dims: number[], values: Float32Array): void {
    const { bits, clamped, vanished } = toFloat16(values);
    if (clamped > 0) this.report.clamped.set(name, clamped);
    this.report.vanished += vanished;
    this.#graph.initializer.push(float16Tensor(half, dims, bits));
  }

  #cast(from: string, to: string, type: number): void {
    this.#added.push({
      ...nodeOf('Cast', [from], [to], [intAttribute('to', type)]),
      name: this.#fresh(`Cast_${to}`),
    });
  }
}

/** @param isFloat of tensors that nodes make and of inputs */
export function writeHalf(
  graph: GraphProto,
  chosen: ReadonlySet<NodeProto>,
  isFloat: (name: string) => boolean,
): HalfReport {
  const writer = new HalfWriter(graph, isFloat);
  writer.write(chosen);
  return writer.report;
}
