/**
 * Constants made plain: Constant nodes and inputs with a default become initializers, copies (Identity, Dropout in
 * inference) vanish, and Reshape and Transpose of constants are worked out. Tensors that a subgraph reads keep their
 * names. Pure; the graph is changed in place.
 */
import {
  attributeOf,
  DATA_TYPE,
  dimsOf,
  floatsOf,
  floatTensor,
  type GraphProto,
  initializersOf,
  int64sOf,
  int64Tensor,
  intOf,
  intsOf,
  isStandard,
  type NodeProto,
  subgraphsOf,
  type TensorProto,
  toNumber,
} from './graph.ts';
import { usesOf } from './graph-uses.ts';

/** The value of a Constant node; undefined for strings and sparse ones, which stay nodes. */
function constantOf(node: NodeProto): TensorProto | undefined {
  const name = node.output[0]!;
  const [t, f, i, floats, ints] = ['value', 'value_float', 'value_int', 'value_floats', 'value_ints'].map(
    (key) => attributeOf(node, key),
  );
  if (t?.t) return Object.assign(t.t, { name });
  if (f) return floatTensor(name, [], Float32Array.of(f.f ?? 0));
  if (i) return int64Tensor(name, [], [toNumber(i.i)]);
  if (floats?.floats) return floatTensor(name, [floats.floats.length], Float32Array.from(floats.floats));
  if (ints?.ints) return int64Tensor(name, [ints.ints.length], ints.ints.map(toNumber));
  return undefined;
}

function foldConstantNodes(graph: GraphProto): void {
  graph.node = graph.node.filter((node) => {
    const tensor = node.opType === 'Constant' && isStandard(node) ? constantOf(node) : undefined;
    if (tensor) graph.initializer.push(tensor);
    return !tensor;
  });
}

/** Before IR 4 every initializer was an input as well; later that means "may be overridden" and stops folding. */
function closeInputs(graph: GraphProto): void {
  const constants = initializersOf(graph);
  graph.input = graph.input.filter(({ name }) => !constants.has(name));
}

const TRAINING_INPUT = 2;
const copies = (node: NodeProto): boolean =>
  isStandard(node) &&
  (node.opType === 'Identity' ||
    (node.opType === 'Dropout' && !node.output[1] && !node.input[TRAINING_INPUT]));

/** Readers of a copy read the original instead, unless the copy's name is needed outside. */
function dropCopies(graph: GraphProto): void {
  const outputs = new Set(graph.output.map(({ name }) => name));
  const inside = new Set(
    graph.node
      .filter((node) => subgraphsOf(node).length > 0)
      .flatMap((node) => usesOf(node).filter((name) => !node.input.includes(name))),
  );
  const original = new Map<string, string>();
  graph.node = graph.node.filter((node) => {
    const [from, to] = [node.input[0] ?? '', node.output[0] ?? ''];
    if (!copies(node) || outputs.has(to) || inside.has(to)) return true;
    original.set(to, from);
    return false;
  });
  const first = (name: string): string => {
    let at = name;
    for (let i = 0; i <= original.size && original.has(at); i++) at = original.get(at)!;
    return at;
  };
  for (const node of graph.node) node.input = node.input.map(first);
}

/** Reshape's 0 takes the dimension over, its one −1 what is left. */
function reshaped(
  from: readonly number[],
  to: readonly number[],
  zeroMeansZero: boolean,
): number[] | undefined {
  const count = from.reduce((product, dim) => product * dim, 1);
  const dims = to.map((dim, i) => (dim === 0 && !zeroMeansZero ? (from[i] ?? 0) : dim));
  const known = dims.filter((dim) => dim !== -1).reduce((product, dim) => product * dim, 1);
  const filled = dims.map((dim) => (dim === -1 && known > 0 ? count / known : dim));
  const right = filled.every((dim) => Number.isInteger(dim) && dim >= 0);
  return right && filled.reduce((product, dim) => product * dim, 1) === count ? filled : undefined;
}

/** out[index permuted] = in[index], row-major. */
export function transposed(values: Float32Array, dims: readonly number[], order: readonly number[]) {
  const strides = dims.map((_, axis) => dims.slice(axis + 1).reduce((product, dim) => product * dim, 1));
  const shape = order.map((axis) => dims[axis]!);
  const steps = order.map((axis) => strides[axis]!);
  const out = new Float32Array(values.length);
  const index = shape.map(() => 0);
  for (let i = 0, from = 0; i < out.length; i++) {
    out[i] = values[from]!;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      from += steps[axis]!;
      if (++index[axis]! < shape[axis]!) break;
      from -= steps[axis]! * shape[axis]!;
      index[axis] = 0;
    }
  }
  return { shape, values: out };
}

function foldedShape(node: NodeProto, data: TensorProto, shape: TensorProto | undefined) {
  const name = node.output[0]!;
  if (node.opType === 'Transpose') {
    const dims = dimsOf(data);
    const order = intsOf(node, 'perm') ?? dims.map((_, i) => dims.length - 1 - i);
    const turned = transposed(floatsOf(data), dims, order);
    return floatTensor(name, turned.shape, turned.values);
  }
  if (node.opType !== 'Reshape' || shape?.dataType !== DATA_TYPE.int64) return undefined;
  const dims = reshaped(dimsOf(data), int64sOf(shape), intOf(node, 'allowzero', 0) === 1);
  return dims && floatTensor(name, dims, floatsOf(data));
}

function foldShapes(graph: GraphProto): void {
  const constants = initializersOf(graph);
  graph.node = graph.node.filter((node) => {
    const data = constants.get(node.input[0] ?? '');
    if (!isStandard(node) || data?.dataType !== DATA_TYPE.float) return true;
    const folded = foldedShape(node, data, constants.get(node.input[1] ?? ''));
    if (!folded) return true;
    graph.initializer.push(folded);
    constants.set(folded.name, folded);
    return false;
  });
}

/** Nodes must be sorted. */
export function foldConstants(graph: GraphProto): void {
  foldConstantNodes(graph);
  closeInputs(graph);
  dropCopies(graph);
  foldShapes(graph);
}
