/**
 * Edits that keep what a float graph computes (to rounding) and make it quantizable: constants are folded into the
 * weights of the convolution before them, old operator sets are raised where nothing changed in between.
 */
import { SkeinError } from '@skein/protocol/errors.ts';
import {
  attributeOf,
  DATA_TYPE,
  dimsOf,
  dropUnused,
  floatOf,
  floatsOf,
  floatTensor,
  type GraphProto,
  initializersOf,
  type ModelProto,
  type NodeProto,
  opsetOf,
  type TensorProto,
  toNumber,
} from './graph.ts';

/** Per-channel QDQ (an axis on DequantizeLinear) exists from here on. */
export const LEAST_OPSET = 13;

/** Unchanged in meaning between opset 7 and 13 for float tensors. */
const STABLE_SINCE_7 = new Set(
  [
    ...['Abs', 'Add', 'AveragePool', 'Concat', 'Constant', 'Conv', 'Div', 'Elu', 'Exp', 'Flatten', 'Gemm'],
    ...['GlobalAveragePool', 'GlobalMaxPool', 'Identity', 'LeakyRelu', 'MatMul', 'MaxPool', 'Mul', 'Neg'],
    ...['PRelu', 'Relu', 'Reshape', 'Sigmoid', 'Sqrt', 'Sub', 'Tanh', 'Transpose'],
  ].values(),
);

/** @throws SkeinError MODEL_INVALID naming the operator that stands in the way */
export function raiseOpset(model: ModelProto): void {
  const opset = opsetOf(model);
  if (opset >= LEAST_OPSET) return;
  const blocking = model.graph.node.find(({ opType }) => !STABLE_SINCE_7.has(opType));
  if (opset < 7 || blocking) {
    const why = blocking ? `\`${blocking.opType}\` changed since` : 'broadcasting changed since';
    throw new SkeinError(
      'MODEL_INVALID',
      `the model uses opset ${opset}, int8 needs ${LEAST_OPSET}: ${why}`,
      { fix: `Export the model again with opset ${LEAST_OPSET} or newer.` },
    );
  }
  model.opsetImport = model.opsetImport.map((entry) =>
    entry.domain === '' || entry.domain === 'ai.onnx' ? { ...entry, version: LEAST_OPSET } : entry,
  );
  model.irVersion = Math.max(7, toNumber(model.irVersion));
}

/** Before IR 4 every initializer was an input as well; later that means "may be overridden" and stops folding. */
function constantInitializers(model: ModelProto): void {
  const constants = initializersOf(model.graph);
  model.graph.input = model.graph.input.filter(({ name }) => !constants.has(name));
  model.irVersion = Math.max(7, toNumber(model.irVersion));
}

const consumersOf = (graph: GraphProto, name: string): NodeProto[] =>
  graph.node.filter((node) => node.input.includes(name));
const isOutput = (graph: GraphProto, name: string): boolean => graph.output.some((o) => o.name === name);

/** The one node that reads `name`, when nothing else does. */
function onlyConsumer(graph: GraphProto, name: string): NodeProto | undefined {
  const consumers = consumersOf(graph, name);
  return consumers.length === 1 && !isOutput(graph, name) ? consumers[0] : undefined;
}

function int64sOf(tensor: TensorProto): number[] {
  if (tensor.int64Data && tensor.int64Data.length > 0) return tensor.int64Data.map(toNumber);
  const raw = Uint8Array.from(tensor.rawData ?? []);
  return [...new BigInt64Array(raw.buffer, 0, raw.length >> 3)].map(Number);
}

/** Reshape of a constant to a constant shape becomes a constant. */
function foldConstantReshapes(graph: GraphProto): void {
  const constants = initializersOf(graph);
  graph.node = graph.node.filter((node) => {
    const data = constants.get(node.input[0] ?? '');
    const shape = constants.get(node.input[1] ?? '');
    if (node.opType !== 'Reshape' || !data || !shape || data.dataType !== DATA_TYPE.float) return true;
    const dims = int64sOf(shape);
    if (dims.some((dim) => dim <= 0)) return true;
    graph.initializer.push(floatTensor(node.output[0]!, dims, floatsOf(data)));
    return false;
  });
}

interface ConvParts {
  conv: NodeProto;
  weights: Float32Array;
  dims: number[];
  bias: Float32Array;
}

function partsOf(conv: NodeProto, constants: Map<string, TensorProto>): ConvParts | undefined {
  const weight = constants.get(conv.input[1] ?? '');
  if (conv.opType !== 'Conv' || !weight || weight.dataType !== DATA_TYPE.float) return undefined;
  const dims = dimsOf(weight);
  const biasTensor = conv.input[2] ? constants.get(conv.input[2]) : undefined;
  if (conv.input[2] && !biasTensor) return undefined;
  const bias = biasTensor ? floatsOf(biasTensor) : new Float32Array(dims[0]!);
  return { conv, weights: floatsOf(weight), dims, bias };
}

/** Gives the convolution new constants and the follower's output; the follower goes. */
function absorb(graph: GraphProto, parts: ConvParts, follower: NodeProto): void {
  const { conv, weights, dims, bias } = parts;
  const name = follower.output[0]!;
  graph.initializer.push(floatTensor(`${name}_folded_W`, dims, weights));
  graph.initializer.push(floatTensor(`${name}_folded_b`, [bias.length], bias));
  conv.input = [conv.input[0]!, `${name}_folded_W`, `${name}_folded_b`];
  conv.output = [name];
  graph.node = graph.node.filter((node) => node !== follower);
}

/** y = γ (x − μ) / √(σ² + ε) + β, so W ← W·s and b ← (b − μ)·s + β with s = γ / √(σ² + ε). */
function foldBatchNorm(graph: GraphProto, parts: ConvParts, norm: NodeProto): boolean {
  const constants = initializersOf(graph);
  const [gamma, beta, mean, variance] = norm.input.slice(1, 5).map((name) => constants.get(name));
  if (!gamma || !beta || !mean || !variance || norm.output.length > 1) return false;
  const epsilon = floatOf(norm, 'epsilon', 1e-5);
  const [g, b, m, v] = [gamma, beta, mean, variance].map(floatsOf) as [
    Float32Array,
    Float32Array,
    Float32Array,
    Float32Array,
  ];
  const scale = g.map((value, c) => value / Math.sqrt(v[c]! + epsilon));
  const perChannel = parts.weights.length / scale.length;
  const weights = parts.weights.map((w, i) => w * scale[Math.floor(i / perChannel)]!);
  const bias = parts.bias.map((value, c) => (value - m[c]!) * scale[c]! + b[c]!);
  absorb(graph, { ...parts, weights, bias }, norm);
  return true;
}

/** A constant of one value a channel, shaped [C, 1, 1] or [1, C, 1, 1]. */
function foldAdd(graph: GraphProto, parts: ConvParts, add: NodeProto): boolean {
  const other = add.input.find((name) => name !== parts.conv.output[0]);
  const constant = initializersOf(graph).get(other ?? '');
  const channels = parts.bias.length;
  if (!constant || constant.dataType !== DATA_TYPE.float) return false;
  const dims = dimsOf(constant);
  const shaped = dims.length >= 3 && dims.at(-3) === channels && dims.at(-1) === 1 && dims.at(-2) === 1;
  if (!shaped || dims.length > 4 || floatsOf(constant).length !== channels) return false;
  const extra = floatsOf(constant);
  absorb(graph, { ...parts, bias: parts.bias.map((value, c) => value + extra[c]!) }, add);
  return true;
}

function foldAfterConvolutions(graph: GraphProto): void {
  for (const conv of graph.node.filter((node) => node.opType === 'Conv')) {
    for (let folded = true; folded; ) {
      const parts = partsOf(conv, initializersOf(graph));
      const follower = onlyConsumer(graph, conv.output[0]!);
      folded = false;
      if (!parts || !follower || attributeOf(follower, 'training_mode')?.i === 1) continue;
      if (follower.opType === 'BatchNormalization') folded = foldBatchNorm(graph, parts, follower);
      else if (follower.opType === 'Add') folded = foldAdd(graph, parts, follower);
    }
  }
}

/** Changes `model` in place. @throws SkeinError MODEL_INVALID */
export function prepareForQuantization(model: ModelProto): void {
  raiseOpset(model);
  constantInitializers(model);
  foldConstantReshapes(model.graph);
  foldAfterConvolutions(model.graph);
  dropUnused(model.graph);
}
