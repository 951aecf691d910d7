/** Edits that keep what a float graph computes (to rounding) and make it quantizable. Pure. */
import { foldAffine } from './fold-affine.ts';
import { foldConstants } from './fold-constants.ts';
import { plainGemms } from './gemm-forms.ts';
import { checkSize, dropUnused, invalidModel, type ModelProto, sortNodes, toNumber } from './graph.ts';
import { raiseOpset } from './opset-raise.ts';

const QUANTIZED = new Set([
  'QuantizeLinear',
  'DequantizeLinear',
  'QLinearConv',
  'QLinearMatMul',
  'MatMulInteger',
]);

/** What describes the float graph only, and would name tensors that are gone. */
function dropStale(model: ModelProto): void {
  delete model.trainingInfo;
  delete model.graph.quantizationAnnotation;
  model.graph.valueInfo = [];
}

/** Names tell nodes apart in decisions and reports: what has none, or another's, is called by its first output. */
function nameNodes(model: ModelProto): void {
  const taken = new Set<string>();
  for (const node of model.graph.node) {
    node.name = node.name && !taken.has(node.name) ? node.name : (node.output.find(Boolean) ?? node.opType);
    taken.add(node.name);
  }
}

/** Changes `model` in place. @throws SkeinError MODEL_INVALID */
export function prepareForQuantization(model: ModelProto): void {
  const done = model.graph.node.find(({ opType }) => QUANTIZED.has(opType));
  if (done) {
    throw invalidModel(
      `the model is quantized already (\`${done.opType}\`)`,
      'Give the float model that it was made from.',
    );
  }
  raiseOpset(model);
  model.graph.node = sortNodes(model.graph);
  foldConstants(model.graph);
  // What is made by a shape would be as large as the shape claims.
  model.graph.initializer.forEach(checkSize);
  plainGemms(model.graph);
  foldAffine(model.graph);
  dropStale(model);
  dropUnused(model.graph);
  nameNodes(model);
  model.irVersion = Math.max(7, toNumber(model.irVersion));
}
