/** Which nodes have int8 kernels in onnxruntime, in the form that those take, and why others have not. Pure. */
import {
  DATA_TYPE,
  dataTypeName,
  dimsOf,
  floatOf,
  floatsOf,
  type GraphProto,
  initializersOf,
  intOf,
  isStandard,
  type NodeProto,
  nodeName,
  type TensorProto,
} from './graph.ts';

export interface ComputeNode {
  node: NodeProto;
  /** Tensors that change from sample to sample: one, or both factors of a product. */
  inputs: string[];
  /** undefined: both factors change. */
  weight: string | undefined;
  bias: string | undefined;
  /** Axis of the weight that is the output channel; undefined: one scale for the whole weight. */
  axis: number | undefined;
}

/** Costly operators that people would expect in int8; all others cost little in float. */
const NO_KERNEL = new Set([
  'ConvTranspose',
  'LSTM',
  'GRU',
  'RNN',
  'Einsum',
  'Attention',
  'If',
  'Loop',
  'Scan',
]);
const COMPUTE = new Set(['Conv', 'Gemm', 'MatMul']);

export const isCostly = (node: NodeProto): boolean =>
  COMPUTE.has(node.opType) || NO_KERNEL.has(node.opType) || !isStandard(node);

type Constants = ReadonlyMap<string, TensorProto>;

/** What a bad weight is and where, or undefined. NaN would become zero and infinity a range of everything. */
function badValue(tensor: TensorProto): string | undefined {
  const values = floatsOf(tensor);
  const at = values.findIndex((value) => !Number.isFinite(value));
  return at < 0 ? undefined : `\`${tensor.name}\` holds ${values[at]} at position ${at}`;
}

/** Finite weights are needed wherever weights are constant. @returns the first bad place */
export function badWeight(graph: GraphProto): string | undefined {
  const constants = initializersOf(graph);
  for (const node of graph.node.filter(isCostly)) {
    for (const name of node.input.slice(1)) {
      const tensor = constants.get(name);
      const bad = tensor?.dataType === DATA_TYPE.float ? badValue(tensor) : undefined;
      if (bad) return `${bad} (a weight of \`${nodeName(node)}\`)`;
    }
  }
  return undefined;
}

function axisOf(node: NodeProto, rank: number): number | undefined {
  if (node.opType === 'Conv') return 0;
  if (node.opType === 'Gemm') return intOf(node, 'transB', 0) ? 0 : 1;
  return rank === 2 ? 1 : undefined;
}

function whyNotGemm(node: NodeProto, weight: TensorProto, bias: TensorProto | undefined): string | undefined {
  if (intOf(node, 'transA', 0)) return 'its input is transposed';
  if (floatOf(node, 'alpha', 1) !== 1 || floatOf(node, 'beta', 1) !== 1) return 'it scales by alpha or beta';
  const channels = dimsOf(weight)[axisOf(node, 2)!];
  const size = bias ? floatsOf(bias).length : channels;
  return size === channels || size === 1 ? undefined : 'its bias differs from row to row';
}

function whyNotWeight(node: NodeProto, weight: TensorProto): string | undefined {
  if (weight.dataType !== DATA_TYPE.float) return `its weights are ${dataTypeName(weight.dataType)}`;
  const dims = dimsOf(weight);
  if (dims.some((dim) => dim === 0)) return 'its weights are empty';
  if (node.opType === 'Conv' && dims.length < 3) return 'its weights have no spatial dimension';
  if (dims.length < 2) return 'its weights are a vector';
  return undefined;
}

/** @param isFloat of a tensor that changes from sample to sample */
export function computeNode(
  node: NodeProto,
  constants: Constants,
  isFloat: (name: string) => boolean,
): ComputeNode | string {
  if (!isStandard(node)) return `an operator of ${node.domain}`;
  if (!COMPUTE.has(node.opType)) return `onnxruntime has no int8 kernel for ${node.opType}`;
  const [input = '', second = '', third = ''] = node.input;
  const weight = constants.get(second);
  const bias = constants.get(third);
  if (constants.has(input)) return 'its first factor is constant';
  if (!isFloat(input)) return 'its input is not float32';
  if (!weight) {
    return node.opType === 'MatMul' && isFloat(second)
      ? { node, inputs: [input, second], weight: undefined, bias: undefined, axis: undefined }
      : 'its weights are not constant';
  }
  if (third && bias?.dataType !== DATA_TYPE.float) return 'its bias is not a float32 constant';
  const why =
    whyNotWeight(node, weight) ?? (node.opType === 'Gemm' ? whyNotGemm(node, weight, bias) : undefined);
  if (why) return why;
  return {
    node,
    inputs: [input],
    weight: second,
    bias: third || undefined,
    axis: axisOf(node, dimsOf(weight).length),
  };
}

export interface Candidates {
  compute: ComputeNode[];
  /** Costly nodes that stay in float. */
  refused: { node: NodeProto; reason: string }[];
}

/** @param skip node names, or their first outputs, that must stay in float */
export function candidatesOf(
  graph: GraphProto,
  skip: ReadonlySet<string>,
  isFloat: (name: string) => boolean,
): Candidates {
  const constants = initializersOf(graph);
  const found: Candidates = { compute: [], refused: [] };
  for (const node of graph.node.filter(isCostly)) {
    const asked = skip.has(nodeName(node)) || node.output.some((name) => skip.has(name));
    const compute = asked ? 'as asked' : computeNode(node, constants, isFloat);
    if (typeof compute === 'string') found.refused.push({ node, reason: compute });
    else found.compute.push(compute);
  }
  return found;
}
