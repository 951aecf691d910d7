/**
 * Dynamic int8 for products with constant weights, in the form that onnxruntime fuses: DynamicQuantizeLinear of the
 * input, MatMulInteger with s8 weights per column, Cast, Mul with both scales, Add of the bias. Needs opset 11. Pure.
 */
import type { ComputeNode } from './compute-nodes.ts';
import { transposed } from './fold-constants.ts';
import {
  DATA_TYPE,
  dimsOf,
  dropUnused,
  floatsOf,
  floatTensor,
  freshNames,
  type GraphProto,
  initializersOf,
  int8Tensor,
  intAttribute,
  type NodeProto,
  nodeOf,
  sortNodes,
} from './graph.ts';
import { quantizeWeights } from './quantize-weights.ts';

/** A convolution has only a slow integer kernel; products of two changing factors gain nothing. */
export const isDynamic = ({ node, weight, axis }: ComputeNode): boolean =>
  node.opType !== 'Conv' && weight !== undefined && axis !== undefined;

/** K × N, as MatMul takes it. */
function columnsOf(graph: GraphProto, { weight, axis }: ComputeNode) {
  const tensor = initializersOf(graph).get(weight!)!;
  const dims = dimsOf(tensor);
  if (axis === 1) return { dims, values: floatsOf(tensor) };
  const turned = transposed(floatsOf(tensor), dims, [1, 0]);
  return { dims: turned.shape, values: turned.values };
}

interface Input {
  values: string;
  scale: string;
  zero: string;
}

function writeOne(graph: GraphProto, compute: ComputeNode, input: Input, limit: number): NodeProto[] {
  const fresh = freshNames(graph);
  const { node, bias } = compute;
  const output = node.output[0]!;
  const { dims, values } = columnsOf(graph, compute);
  const request = { weights: values, dims, axis: 1, limit, bias: undefined, inputScale: 1 };
  const quantized = quantizeWeights(request);
  const width = dims[1]!;
  const [w, scale, zero] = ['q', 'scale', 'zero'].map((part) => fresh(`${output}_weight_${part}`));
  graph.initializer.push(
    int8Tensor(w!, dims, quantized.values),
    floatTensor(scale!, [width], quantized.scales),
    int8Tensor(zero!, [width], new Int8Array(width)),
  );
  const [sums, real, scales] = ['sums', 'real', 'scales'].map((part) => fresh(`${output}_${part}`));
  const product = bias ? fresh(`${output}_product`) : output;
  const nodes = [
    nodeOf('MatMulInteger', [input.values, w!, input.zero, zero!], [sums!]),
    nodeOf('Cast', [sums!], [real!], [intAttribute('to', DATA_TYPE.float)]),
    nodeOf('Mul', [input.scale, scale!], [scales!]),
    nodeOf('Mul', [real!, scales!], [product]),
  ];
  return bias ? [...nodes, nodeOf('Add', [product, bias], [output])] : nodes;
}

/** Changes `graph` in place. @param weightLimit as in WriteOptions */
export function writeDynamic(graph: GraphProto, chosen: readonly ComputeNode[], weightLimit: number): void {
  const inputs = new Map<string, Input>();
  for (const compute of chosen) {
    const name = compute.inputs[0]!;
    if (!inputs.has(name)) {
      const fresh = freshNames(graph);
      const [values, scale, zero] = ['u8', 'u8_scale', 'u8_zero'].map((part) => fresh(`${name}_${part}`));
      inputs.set(name, { values: values!, scale: scale!, zero: zero! });
      graph.node.push(nodeOf('DynamicQuantizeLinear', [name], [values!, scale!, zero!]));
    }
    const nodes = writeOne(graph, compute, inputs.get(name)!, weightLimit);
    graph.node = [...graph.node.filter((node) => node !== compute.node), ...nodes];
  }
  graph.node = sortNodes(graph);
  dropUnused(graph);
}
