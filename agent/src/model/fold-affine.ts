/**
 * What follows a convolution or matrix product and only scales and shifts its channels (BatchNormalization in
 * inference, Mul, Div, Add, Sub with constants) goes into its weights and bias: y = a·(W x + b) + c = (aW) x + (ab + c).
 * Pure; the graph is changed in place. Computes the same up to rounding.
 */
import {
  DATA_TYPE,
  dimsOf,
  floatOf,
  floatsOf,
  floatTensor,
  freshNames,
  type GraphProto,
  initializersOf,
  intOf,
  isStandard,
  type NodeProto,
  readersOf,
  type TensorProto,
} from './graph.ts';

/** One multiplier and one addend a channel. */
interface Affine {
  a: Float64Array;
  c: Float64Array;
}
type Constants = ReadonlyMap<string, TensorProto>;

/** Axis of the weight that is the output channel, and the rank of what the node makes. */
interface Product {
  node: NodeProto;
  weight: TensorProto;
  bias: Float32Array;
  axis: number;
  channels: number;
  /** Axis of the channels in the output; its rank. */
  at: number;
  rank: number;
}

function productOf(node: NodeProto, constants: Constants): Product | undefined {
  const weight = constants.get(node.input[1] ?? '');
  if (!isStandard(node) || weight?.dataType !== DATA_TYPE.float) return undefined;
  const dims = dimsOf(weight);
  const biasTensor = constants.get(node.input[2] ?? '');
  if (node.input[2] && biasTensor?.dataType !== DATA_TYPE.float) return undefined;
  const isGemm = node.opType === 'Gemm' && dims.length === 2;
  if (!isGemm && node.opType !== 'Conv') return undefined;
  const axis = isGemm && !intOf(node, 'transB', 0) ? 1 : 0;
  const channels = dims[axis]!;
  const given = biasTensor ? floatsOf(biasTensor) : new Float32Array(channels);
  const bias = given.length === 1 && isGemm ? new Float32Array(channels).fill(given[0]!) : given;
  const plain = !isGemm || (floatOf(node, 'alpha', 1) === 1 && floatOf(node, 'beta', 1) === 1);
  if (!plain || bias.length !== channels) return undefined;
  return { node, weight, bias, axis, channels, at: 1, rank: dims.length };
}

/** Values of a constant that is one number, or one number a channel. */
function perChannel(tensor: TensorProto | undefined, product: Product): Float32Array | undefined {
  if (tensor?.dataType !== DATA_TYPE.float || dimsOf(tensor).length > product.rank) return undefined;
  const values = floatsOf(tensor);
  if (values.length === 1) return new Float32Array(product.channels).fill(values[0]!);
  const dims = dimsOf(tensor);
  const whole = [...new Array<number>(product.rank - dims.length).fill(1), ...dims];
  const fits = whole.every((dim, axis) => dim === (axis === product.at ? product.channels : 1));
  return fits ? values : undefined;
}

/** y = γ (x − μ) / √(σ² + ε) + β */
function batchNorm(norm: NodeProto, constants: Constants, channels: number): Affine | undefined {
  if (norm.output.filter(Boolean).length > 1 || intOf(norm, 'training_mode', 0) === 1) return undefined;
  const tensors = norm.input.slice(1, 5).map((name) => constants.get(name));
  if (tensors.length < 4 || tensors.some((tensor) => tensor?.dataType !== DATA_TYPE.float)) return undefined;
  const [gamma, beta, mean, variance] = tensors.map((tensor) => floatsOf(tensor!));
  if (gamma!.length !== channels) return undefined;
  const epsilon = floatOf(norm, 'epsilon', 1e-5);
  const a = Float64Array.from(gamma!, (value, k) => value / Math.sqrt(variance![k]! + epsilon));
  return { a, c: a.map((value, k) => beta![k]! - mean![k]! * value) };
}

function affineOf(follower: NodeProto, product: Product, constants: Constants): Affine | undefined {
  if (!isStandard(follower)) return undefined;
  if (follower.opType === 'BatchNormalization') return batchNorm(follower, constants, product.channels);
  const first = follower.input[0] === product.node.output[0];
  const values = perChannel(constants.get(follower.input[first ? 1 : 0] ?? ''), product);
  if (!values) return undefined;
  const one = new Float64Array(product.channels).fill(1);
  const none = new Float64Array(product.channels);
  const sign = follower.opType === 'Sub' ? -1 : 1;
  if (follower.opType === 'Add' || (follower.opType === 'Sub' && first))
    return { a: one, c: Float64Array.from(values, (value) => sign * value) };
  if (follower.opType === 'Mul') return { a: Float64Array.from(values), c: none };
  if (follower.opType === 'Div' && first) return { a: Float64Array.from(values, (v) => 1 / v), c: none };
  return undefined;
}

/** Gives the product new constants and the follower's output; the follower goes. */
function absorb(graph: GraphProto, product: Product, { a, c }: Affine, follower: NodeProto): void {
  const { node, weight, bias, axis, channels } = product;
  const dims = dimsOf(weight);
  const inner = dims.slice(axis + 1).reduce((count, dim) => count * dim, 1);
  const fresh = freshNames(graph);
  const name = follower.output[0]!;
  const [w, b] = [fresh(`${name}_folded_W`), fresh(`${name}_folded_b`)];
  const weights = floatsOf(weight).map((value, i) => value * a[Math.floor(i / inner) % channels]!);
  graph.initializer.push(floatTensor(w, dims, weights));
  graph.initializer.push(
    floatTensor(
      b,
      [channels],
      bias.map((value, k) => value * a[k]! + c[k]!),
    ),
  );
  node.input = [node.input[0]!, w, b];
  node.output = [name];
  graph.node = graph.node.filter((other) => other !== follower);
}

/** What scales by NaN, infinity or beyond float32 is left alone. */
const sane = ({ a, c }: Affine): boolean =>
  [...a, ...c].every((value) => Number.isFinite(Math.fround(value)));

function foldBehind(graph: GraphProto, node: NodeProto): boolean {
  const constants = initializersOf(graph);
  const product = productOf(node, constants);
  const name = node.output[0]!;
  const [follower, ...others] = readersOf(graph).get(name) ?? [];
  const shown = graph.output.some((output) => output.name === name);
  if (!product || !follower || others.length > 0 || shown) return false;
  const affine = affineOf(follower, product, constants);
  if (!affine || !sane(affine)) return false;
  absorb(graph, product, affine, follower);
  return true;
}

export function foldAffine(graph: GraphProto): void {
  for (const node of graph.node.filter(({ opType }) => opType === 'Conv' || opType === 'Gemm')) {
    while (foldBehind(graph, node));
  }
}
