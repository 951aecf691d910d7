/**
 * Which nodes run in int8 and which tensors get a quantize/dequantize pair. Pure.
 *
 * Compute nodes (Conv, Gemm, MatMul) are chosen; operators that only move or combine values follow when all they read
 * was made by chosen ones and what they make is read by one, so a chain of int8 is not torn. What comes *before* the
 * first compute node, e.g. the scaling of raw sensor values, stays in float. One pair per Conv+Relu: the pair stands
 * after the activation.
 */
import type { ComputeNode } from './compute-nodes.ts';
import {
  type GraphProto,
  initializersOf,
  isStandard,
  type NodeProto,
  readersOf,
  sortNodes,
} from './graph.ts';

export interface QuantizationPlan {
  compute: ComputeNode[];
  /** Operators that follow in int8. */
  following: NodeProto[];
  /** Tensors with a pair. */
  pairs: Set<string>;
  /** Pairs whose tensor is made by an int8 node: everything reads behind the pair. */
  made: Set<string>;
  /** Pairs that only move values of another: they share its parameters (output → input). */
  shared: Map<string, string>;
}

/** How much follows: `narrow` leaves to float what onnxruntime has slower or coarser kernels for. */
export type Following = 'wide' | 'narrow';

/** These move values without changing them; only the first input is data. */
const MOVING = new Set(['MaxPool', 'Reshape', 'Flatten', 'Transpose', 'Squeeze', 'Unsqueeze']);
const COMBINING: Record<Following, ReadonlySet<string>> = {
  narrow: new Set(['Add', 'AveragePool', 'GlobalAveragePool']),
  wide: new Set(['Add', 'AveragePool', 'GlobalAveragePool', 'Mul', 'Concat', 'Sigmoid', 'LeakyRelu']),
};
const ACTIVATIONS = new Set(['Relu', 'Clip']);

interface Sight {
  readers: ReadonlyMap<string, NodeProto[]>;
  constants: ReadonlySet<string>;
  outputs: ReadonlySet<string>;
  follows: ReadonlySet<string>;
}

/** The tensor after the activation that is fused with `node`. */
function resultOf(node: NodeProto, { readers, outputs }: Sight): string {
  const name = node.output[0]!;
  const [only, ...others] = readers.get(name) ?? [];
  const fused =
    only &&
    others.length === 0 &&
    !outputs.has(name) &&
    ACTIVATIONS.has(only.opType) &&
    only.input[0] === name;
  return fused && isStandard(only) ? only.output[0]! : name;
}

const dataInputs = (node: NodeProto): string[] =>
  (MOVING.has(node.opType) ? node.input.slice(0, 1) : node.input).filter((name) => name !== '');

/** Followers in order, each of whose inputs is made in int8. */
function reachable(graph: GraphProto, compute: readonly ComputeNode[], sight: Sight): NodeProto[] {
  const made = new Set(compute.map(({ node }) => resultOf(node, sight)));
  return sortNodes(graph).filter((node) => {
    const usable =
      isStandard(node) &&
      (MOVING.has(node.opType) || sight.follows.has(node.opType)) &&
      node.output.filter(Boolean).length === 1 &&
      dataInputs(node).every((name) => made.has(name) && !sight.constants.has(name));
    if (usable) made.add(resultOf(node, sight));
    return usable;
  });
}

/** From the back: a follower that leads to no int8 node would only add a pair. */
function leading(
  followers: readonly NodeProto[],
  compute: readonly ComputeNode[],
  sight: Sight,
): NodeProto[] {
  const chosen = new Set(compute.map(({ node }) => node));
  for (const node of followers.toReversed()) {
    if (sight.readers.get(resultOf(node, sight))?.some((reader) => chosen.has(reader))) chosen.add(node);
  }
  return followers.filter((node) => chosen.has(node));
}

/** Convolutions and followers have no kernel from int8 to float; what they make must be a pair. Products have. */
const needsPair = (node: NodeProto): boolean => node.opType !== 'Gemm' && node.opType !== 'MatMul';

/** @param compute the candidates to use; the graph itself is not changed. */
export function planQuantization(
  graph: GraphProto,
  compute: ComputeNode[],
  width: Following = 'wide',
): QuantizationPlan {
  const sight: Sight = {
    readers: readersOf(graph),
    constants: new Set(initializersOf(graph).keys()),
    outputs: new Set(graph.output.map(({ name }) => name)),
    follows: COMBINING[width],
  };
  const following = leading(reachable(graph, compute, sight), compute, sight);
  const pairs = new Set([...compute.flatMap(({ inputs }) => inputs), ...following.flatMap(dataInputs)]);
  const made = new Set<string>();
  const shared = new Map<string, string>();
  for (const node of [...compute.map((one) => one.node), ...following]) {
    const output = resultOf(node, sight);
    if (needsPair(node)) pairs.add(output);
    if (pairs.has(output)) made.add(output);
    if (MOVING.has(node.opType) && output === node.output[0]) shared.set(output, node.input[0]!);
  }
  return { compute, following, pairs, made, shared };
}
