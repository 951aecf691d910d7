/**
 * Old operator sets raised to 13, where per-channel QDQ begins. Operators that mean the same are left, those whose
 * attributes became inputs are rewritten, and what can not be said exactly is refused with the operator's name.
 * Source: docs/Changelog.md of ONNX. Whether the outcome computes the same is measured by the caller. Pure.
 */
import {
  type GraphProto,
  invalidModel,
  isStandard,
  type ModelProto,
  type NodeProto,
  nodeName,
  opsetOf,
  setOpset,
  toNumber,
} from './graph.ts';
import { openSubgraph, subgraphsOf } from './graph-uses.ts';
import { REWRITES } from './opset-rewrites.ts';

/** Per-channel QDQ (an axis on DequantizeLinear) exists from here on. */
export const LEAST_OPSET = 13;
/** Before 7, broadcasting was an attribute. */
const OLDEST_OPSET = 7;

/** Unchanged in meaning between opset 7 and 13, but for types and negative axes that were added. */
const STABLE = new Set(
  [
    'Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool Cast Ceil Compress Concat Constant',
    'ConstantOfShape Conv ConvTranspose Cos Cosh CumSum DepthToSpace Div Elu Equal Erf Exp Expand EyeLike Flatten',
    'Floor GRU Gather GatherElements GatherND Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool Greater HardSigmoid',
    'Identity If InstanceNormalization IsInf IsNaN LRN LSTM LeakyRelu Less Log Loop LpNormalization LpPool MatMul Max',
    'MaxPool MaxRoiPool Mean MeanVarianceNormalization Min Mod Mul Neg NonMaxSuppression NonZero Not OneHot Or PRelu',
    'Pow RNN Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd',
    'ReduceSumSquare Relu Reshape Round ScatterElements ScatterND Selu Shape Shrink Sigmoid Sign Sin Sinh Size Softplus',
    'Softsign SpaceToDepth Sqrt Sub Sum Tan Tanh ThresholdedRelu Tile Transpose Where Xor',
  ].flatMap((line) => line.split(' ')),
);

const refuse = (opset: number, why: string) =>
  invalidModel(
    `the model uses opset ${opset}, int8 needs ${LEAST_OPSET}: ${why}`,
    `Export the model again with opset ${LEAST_OPSET} or newer.`,
  );

/** Subgraphs are not edited: everything in them must mean the same. */
function checkInside(node: NodeProto, opset: number): void {
  for (const graph of subgraphsOf(node).map(openSubgraph)) {
    const changed = graph.node.find((inner) => isStandard(inner) && !STABLE.has(inner.opType));
    if (changed) throw refuse(opset, `\`${changed.opType}\` inside \`${nodeName(node)}\` changed since`);
    for (const inner of graph.node) checkInside(inner, opset);
  }
}

function raiseNode(node: NodeProto, graph: GraphProto, opset: number): NodeProto[] {
  if (!isStandard(node)) return [node];
  const rewrite = REWRITES[node.opType];
  const stable = STABLE.has(node.opType) || (rewrite && opset >= rewrite.until);
  if (stable) return [node];
  const done = rewrite?.write(node, graph);
  if (!done) throw refuse(opset, `\`${node.opType}\` changed since`);
  if (typeof done === 'string') throw refuse(opset, `\`${nodeName(node)}\` (${node.opType}): ${done}`);
  return done;
}

/** Changes `model` in place. @throws SkeinError MODEL_INVALID naming the operator that stands in the way */
export function raiseOpset(model: ModelProto): void {
  const opset = opsetOf(model);
  if (opset >= LEAST_OPSET) return;
  if (opset < OLDEST_OPSET) throw refuse(opset, 'broadcasting changed since');
  if (model.functions?.length) throw refuse(opset, 'it defines functions of its own');
  for (const node of model.graph.node) checkInside(node, opset);
  model.graph.node = model.graph.node.flatMap((node) => raiseNode(node, model.graph, opset));
  setOpset(model, LEAST_OPSET);
  // Shapes that were declared for an intermediate tensor may not fit what it was rewritten to.
  model.graph.valueInfo = [];
  model.irVersion = Math.max(7, toNumber(model.irVersion));
}
