/**
 * Matrix products brought to the one form that int8 kernels take: Gemm with alpha = beta = 1. MatMul + Add of a
 * constant row becomes such a Gemm where the input is known to be a matrix, so that its bias becomes int32. Pure.
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
  isStandard,
  type NodeProto,
  readersOf,
  type TensorProto,
} from './graph.ts';

const isFloat = (tensor: TensorProto | undefined): tensor is TensorProto =>
  tensor?.dataType === DATA_TYPE.float;

/** alpha·A·B + beta·C with constant B and C: the factors go into the constants. */
export function plainGemms(graph: GraphProto): void {
  const constants = initializersOf(graph);
  const fresh = freshNames(graph);
  for (const node of graph.node) {
    const factors = [floatOf(node, 'alpha', 1), floatOf(node, 'beta', 1)];
    if (node.opType !== 'Gemm' || !isStandard(node) || factors.every((factor) => factor === 1)) continue;
    const tensors = [constants.get(node.input[1] ?? ''), constants.get(node.input[2] ?? '')];
    if (!isFloat(tensors[0]) || (node.input[2] && !isFloat(tensors[1]))) continue;
    tensors.forEach((tensor, i) => {
      if (!tensor) return;
      const name = fresh(`${node.output[0]}_scaled_${i ? 'C' : 'B'}`);
      graph.initializer.push(
        floatTensor(
          name,
          dimsOf(tensor),
          floatsOf(tensor).map((value) => value * factors[i]!),
        ),
      );
      node.input[i + 1] = name;
    });
    node.attribute = node.attribute.filter(({ name }) => name !== 'alpha' && name !== 'beta');
  }
}

/** A constant of one number a column. */
const isRow = (tensor: TensorProto | undefined, width: number): boolean =>
  isFloat(tensor) &&
  dimsOf(tensor).length <= 2 &&
  dimsOf(tensor).at(-1) === width &&
  floatsOf(tensor).length === width;

/** @param rankOf rank of a tensor as onnxruntime infers it */
export function productsToGemms(graph: GraphProto, rankOf: (name: string) => number | undefined): void {
  const constants = initializersOf(graph);
  const readers = readersOf(graph);
  const outputs = new Set(graph.output.map(({ name }) => name));
  const gone = new Set<NodeProto>();
  for (const node of graph.node) {
    const weight = constants.get(node.input[1] ?? '');
    const matrix = isFloat(weight) && dimsOf(weight).length === 2 && rankOf(node.input[0]!) === 2;
    if (node.opType !== 'MatMul' || !isStandard(node) || !matrix || constants.has(node.input[0]!)) continue;
    const name = node.output[0]!;
    const [add, ...others] = readers.get(name) ?? [];
    if (add?.opType !== 'Add' || !isStandard(add) || others.length > 0 || outputs.has(name)) continue;
    const bias = add.input.find((input) => input !== name) ?? '';
    if (!isRow(constants.get(bias), dimsOf(weight)[1]!)) continue;
    Object.assign(node, { opType: 'Gemm', input: [...node.input, bias], output: [add.output[0]!] });
    gone.add(add);
  }
  graph.node = graph.node.filter((node) => !gone.has(node));
}
