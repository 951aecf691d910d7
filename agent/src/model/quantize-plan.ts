/**
 * Which nodes run in int8 and which tensors get a quantize/dequantize pair. Pure.
 *
 * Compute nodes (Conv, Gemm, MatMul with constant weights) are chosen; operators that only move or combine values
 * follow when all they read was made by chosen ones, so a chain of int8 is not torn. What comes *before* the first
 * compute node, e.g. the scaling of raw sensor values, stays in float: quantizing raw inputs whose ranges differ by
 * orders of magnitude destroys a model. One pair per Conv+Relu: the pair stands after the activation.
 */
import {
  DATA_TYPE,
  dimsOf,
  floatOf,
  type GraphProto,
  initializersOf,
  intOf,
  type NodeProto,
  sortNodes,
} from './graph.ts';

export interface ComputeNode {
  node: NodeProto;
  input: string;
  weight: string;
  bias: string | undefined;
  /** Axis of the weight that is the output channel. */
  axis: number;
}

export interface QuantizationPlan {
  compute: ComputeNode[];
  /** Tensors with a pair, in no order. */
  pairs: Set<string>;
  /** `pairs` that only move values of another: they share its parameters (output → input). */
  shared: Map<string, string>;
}

const FOLLOWING = new Set([
  'Add',
  'AveragePool',
  'GlobalAveragePool',
  'MaxPool',
  'Reshape',
  'Flatten',
  'Transpose',
]);
/** These move values without changing them. */
const MOVING = new Set(['MaxPool', 'Reshape', 'Flatten', 'Transpose']);
const ACTIVATIONS = new Set(['Relu', 'Clip']);

/** A compute node if it has the form that int8 kernels take. */
export function computeNode(node: NodeProto, graph: GraphProto): ComputeNode | undefined {
  const constants = initializersOf(graph);
  const [input, weight, bias] = node.input;
  const tensor = constants.get(weight ?? '');
  if (!input || constants.has(input) || !weight || tensor?.dataType !== DATA_TYPE.float) return undefined;
  if (bias && constants.get(bias)?.dataType !== DATA_TYPE.float) return undefined;
  const part = { node, input, weight, bias: bias || undefined };
  const rank = dimsOf(tensor).length;
  if (node.opType === 'Conv') return rank >= 3 ? { ...part, axis: 0 } : undefined;
  if (node.opType === 'MatMul') return rank === 2 ? { ...part, bias: undefined, axis: 1 } : undefined;
  if (node.opType !== 'Gemm' || rank !== 2) return undefined;
  const plain =
    floatOf(node, 'alpha', 1) === 1 && floatOf(node, 'beta', 1) === 1 && !intOf(node, 'transA', 0);
  const transposed = intOf(node, 'transB', 0) === 1;
  const channels = dimsOf(tensor)[transposed ? 0 : 1];
  const biasSize = bias ? dimsOf(constants.get(bias)!).reduce((a, b) => a * b, 1) : channels;
  return plain && biasSize === channels ? { ...part, axis: transposed ? 0 : 1 } : undefined;
}

const nameOf = (node: NodeProto): string => node.name || node.output[0]!;

/** Nodes that could run in int8; `skip` holds node names (or first outputs) that must stay in float. */
export const candidates = (graph: GraphProto, skip: ReadonlySet<string>): ComputeNode[] =>
  graph.node
    .filter((node) => !skip.has(nameOf(node)) && !skip.has(node.output[0]!))
    .flatMap((node) => computeNode(node, graph) ?? []);

/** @param compute the candidates to use; the graph itself is not changed. */
export function planQuantization(graph: GraphProto, compute: ComputeNode[]): QuantizationPlan {
  const constants = initializersOf(graph);
  const readers = new Map<string, NodeProto[]>();
  for (const node of graph.node) {
    for (const name of node.input) readers.set(name, [...(readers.get(name) ?? []), node]);
  }
  const outputs = new Set(graph.output.map(({ name }) => name));
  const chosen = new Set(compute.map(({ node }) => node));

  /** The tensor after the activation that is fused with `node`. */
  const result = (node: NodeProto): string => {
    const name = node.output[0]!;
    const [only, ...others] = readers.get(name) ?? [];
    const fused = only && others.length === 0 && !outputs.has(name) && ACTIVATIONS.has(only.opType);
    return fused ? only.output[0]! : name;
  };
  const dataInputs = (node: NodeProto) =>
    (MOVING.has(node.opType) ? node.input.slice(0, 1) : node.input).filter((name) => name !== '');

  const made = new Set(compute.map(({ node }) => result(node)));
  const followers: NodeProto[] = [];
  for (const node of sortNodes(graph)) {
    const inputs = dataInputs(node);
    const usable =
      FOLLOWING.has(node.opType) && inputs.every((name) => made.has(name) && !constants.has(name));
    if (!usable || node.output.length > 1) continue;
    followers.push(node);
    made.add(result(node));
  }
  // From the back: a follower that leads to no int8 node would only add a pair.
  for (const node of followers.toReversed()) {
    if (readers.get(result(node))?.some((reader) => chosen.has(reader))) chosen.add(node);
  }

  const pairs = new Set<string>();
  const shared = new Map<string, string>();
  for (const node of chosen) {
    for (const name of FOLLOWING.has(node.opType) ? dataInputs(node) : [node.input[0]!]) pairs.add(name);
    const output = result(node);
    // A convolution has no kernel from int8 to float; Gemm and MatMul have.
    if (node.opType === 'Conv' || FOLLOWING.has(node.opType)) if (!outputs.has(output)) pairs.add(output);
    if (MOVING.has(node.opType) && output === node.output[0]) shared.set(output, node.input[0]!);
  }
  return { compute, pairs, shared };
}
