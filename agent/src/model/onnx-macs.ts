/** Multiply-accumulates of one inference, counted from the shapes that the runtime really gives. */
import type { Tensors } from '../inference/backend.ts';
import { elementCount } from '../inference/tensors.ts';
import { dimsOf, type GraphProto, intOf, type ModelProto, type NodeProto, saveGraph } from './graph.ts';
import { openModel } from './onnx-quantize.ts';

/** Weight input of the operators that are counted. */
const COUNTED: Record<string, number> = {
  Conv: 1,
  Gemm: 1,
  MatMul: 1,
  ConvTranspose: 1,
  QLinearConv: 3,
  QLinearMatMul: 3,
};

/** What one value of the output costs: the weight's values that are multiplied into it. */
function depthOf(node: NodeProto, dims: readonly number[]): number {
  const whole = elementCount(dims);
  if (node.opType === 'Conv' || node.opType === 'QLinearConv') return whole / Math.max(1, dims[0]!);
  if (node.opType === 'Gemm') return dims[intOf(node, 'transB', 0) === 1 ? 1 : 0]!;
  return dims.length > 1 ? dims.at(-2)! : dims[0]!;
}

/** Shapes of constant weights, also behind a DequantizeLinear. */
function weightDims(graph: GraphProto): Map<string, number[]> {
  const dims = new Map(graph.initializer.map((tensor) => [tensor.name, dimsOf(tensor)]));
  for (const { opType, input, output } of graph.node) {
    const behind = dims.get(input[0] ?? '');
    if (behind && (opType === 'DequantizeLinear' || opType === 'Cast')) dims.set(output[0]!, behind);
  }
  return dims;
}

/** For one sample. null: an operator's weight is no constant, so nobody can tell. @throws what the runtime throws */
export async function countMacs(model: ModelProto, inputs: Tensors): Promise<number | null> {
  const { graph } = model;
  const weights = weightDims(graph);
  const counted = graph.node.filter(({ opType }) => opType in COUNTED);
  const known = counted.every((node) => weights.has(node.input[COUNTED[node.opType]!] ?? ''));
  if (!known || counted.some(({ opType }) => opType === 'ConvTranspose')) return null;
  if (counted.length === 0) return 0;
  const declared = new Set(graph.output.map(({ name }) => name));
  const added = counted.map(({ output }) => output[0]!).filter((name) => !declared.has(name));
  const probed = {
    ...model,
    graph: { ...graph, output: [...graph.output, ...added.map((name) => ({ name }))] },
  };
  const session = await openModel(saveGraph(probed));
  try {
    const outputs = await session.run(inputs);
    return counted.reduce((sum, node) => {
      const depth = depthOf(node, weights.get(node.input[COUNTED[node.opType]!]!)!);
      return sum + elementCount(outputs[node.output[0]!]!.dims) * depth;
    }, 0);
  } finally {
    await session.close();
  }
}
