/**
 * ONNX files as graphs: load within bounds, read and make initializers, edit, sort, save. Pure: bytes in, bytes out.
 *
 * Limits: 1 GiB a file, 100,000 nodes. Weights must be inside the file (external data is refused). Subgraphs of
 * If/Loop/Scan are carried along unread: their outer references are not seen, so such nodes are never moved across.
 */
import { SkeinError } from '@skein/protocol/errors.ts';
import {
  type AttributeProto,
  decodeModel,
  encodeModel,
  type GraphProto,
  type Int64,
  type ModelProto,
  type NodeProto,
  type TensorProto,
  type ValueInfoProto,
} from './graph-schema.ts';

export type { GraphProto, ModelProto, NodeProto, TensorProto } from './graph-schema.ts';

export const MAX_MODEL_BYTES = 2 ** 30;
export const MAX_NODES = 100_000;

/** TensorProto.DataType */
export const DATA_TYPE = { float: 1, uint8: 2, int8: 3, int32: 6, int64: 7, double: 11 } as const;
const DATA_TYPE_NAMES: Record<number, string> = {
  1: 'float32',
  2: 'uint8',
  3: 'int8',
  4: 'uint16',
  5: 'int16',
  6: 'int32',
  7: 'int64',
  8: 'string',
  9: 'bool',
  10: 'float16',
  11: 'float64',
};
export const dataTypeName = (type: number): string => DATA_TYPE_NAMES[type] ?? `type ${type}`;

const refuse = (message: string, fix?: string, cause?: unknown) =>
  new SkeinError('MODEL_INVALID', message, { ...(fix ? { fix } : {}), cause });

/** @throws SkeinError MODEL_INVALID */
export function loadGraph(bytes: Uint8Array): ModelProto {
  if (bytes.length > MAX_MODEL_BYTES)
    throw refuse(`the model has ${bytes.length} bytes, at most 1 GiB is read`);
  let model: ModelProto;
  try {
    model = decodeModel(bytes);
  } catch (cause) {
    throw refuse('the file is not an ONNX model', 'Give a file that ends in .onnx and is complete.', cause);
  }
  if (!model.graph || model.graph.node.length === 0)
    throw refuse('the file is not an ONNX model: it has no graph');
  if (model.graph.node.length > MAX_NODES) throw refuse(`the graph has more than ${MAX_NODES} nodes`);
  const outside = model.graph.initializer.find((tensor) => tensor.dataLocation === 1);
  if (outside) {
    throw refuse(
      `the weights of \`${outside.name}\` are in another file`,
      'Save the model with its weights inside.',
    );
  }
  return model;
}

export const saveGraph = (model: ModelProto): Uint8Array => encodeModel(model);

export const toNumber = (value: Int64 | undefined): number =>
  value === undefined ? 0 : typeof value === 'number' ? value : value.toNumber();

/** Version of the default operator set; 0 when the file names none. */
export const opsetOf = (model: ModelProto): number =>
  toNumber(model.opsetImport.find(({ domain }) => domain === '' || domain === 'ai.onnx')?.version);

export const dimsOf = (tensor: TensorProto): number[] => tensor.dims.map(toNumber);

/** Float values of an initializer, from either encoding. @throws SkeinError MODEL_INVALID for another type or a short buffer */
export function floatsOf(tensor: TensorProto): Float32Array {
  if (tensor.dataType !== DATA_TYPE.float) {
    throw refuse(`\`${tensor.name}\` is ${dataTypeName(tensor.dataType)}, float32 is needed`);
  }
  const count = dimsOf(tensor).reduce((product, dim) => product * dim, 1);
  const values =
    tensor.rawData && tensor.rawData.length > 0
      ? new Float32Array(Uint8Array.from(tensor.rawData).buffer, 0, tensor.rawData.length >> 2)
      : Float32Array.from(tensor.floatData ?? []);
  if (values.length !== count)
    throw refuse(`\`${tensor.name}\` has ${values.length} values, its shape ${count}`);
  return values;
}

const bytesOf = (data: ArrayBufferView): Uint8Array =>
  new Uint8Array(data.buffer, data.byteOffset, data.byteLength);

const tensorOf = (name: string, dataType: number, dims: number[], data: ArrayBufferView): TensorProto => ({
  name,
  dataType,
  dims,
  rawData: bytesOf(data),
});
export const floatTensor = (name: string, dims: number[], data: Float32Array): TensorProto =>
  tensorOf(name, DATA_TYPE.float, dims, data);
export const int8Tensor = (name: string, dims: number[], data: Int8Array): TensorProto =>
  tensorOf(name, DATA_TYPE.int8, dims, data);
export const uint8Tensor = (name: string, dims: number[], data: Uint8Array): TensorProto =>
  tensorOf(name, DATA_TYPE.uint8, dims, data);
export const int32Tensor = (name: string, dims: number[], data: Int32Array): TensorProto =>
  tensorOf(name, DATA_TYPE.int32, dims, data);

/** A graph input or output; -1 is a free dimension, named N. */
export const floatValue = (name: string, shape: number[]): ValueInfoProto => ({
  name,
  type: {
    tensorType: {
      elemType: DATA_TYPE.float,
      shape: { dim: shape.map((dim) => (dim < 0 ? { dimParam: 'N' } : { dimValue: dim })) },
    },
  },
});

/** AttributeProto.AttributeType */
const ATTRIBUTE = { float: 1, int: 2, ints: 7 } as const;
export const intAttribute = (name: string, i: number): AttributeProto => ({ name, type: ATTRIBUTE.int, i });
export const floatAttribute = (name: string, f: number): AttributeProto => ({
  name,
  type: ATTRIBUTE.float,
  f,
});

export const attributeOf = (node: NodeProto, name: string): AttributeProto | undefined =>
  node.attribute.find((attribute) => attribute.name === name);
export const intOf = (node: NodeProto, name: string, otherwise: number): number => {
  const attribute = attributeOf(node, name);
  return attribute ? toNumber(attribute.i) : otherwise;
};
export const floatOf = (node: NodeProto, name: string, otherwise: number): number =>
  attributeOf(node, name)?.f ?? otherwise;

export const nodeOf = (
  opType: string,
  input: string[],
  output: string[],
  attribute: AttributeProto[] = [],
): NodeProto => ({ opType, input, output, attribute, name: `${opType}_${output[0]}` });

/** A whole float model. Opset 17 needs IR 8. */
export const modelOf = (graph: GraphProto, opset = 17): ModelProto => ({
  irVersion: 8,
  producerName: 'skein-model',
  opsetImport: [{ domain: '', version: opset }],
  graph,
});

export const initializersOf = (graph: GraphProto): Map<string, TensorProto> =>
  new Map(graph.initializer.map((tensor) => [tensor.name, tensor]));

/** Nodes in an order in which every input is made before it is used (Kahn). @throws SkeinError MODEL_INVALID on a cycle */
export function sortNodes(graph: GraphProto): NodeProto[] {
  const made = new Map<string, number>();
  graph.node.forEach((node, i) => {
    for (const name of node.output) if (name) made.set(name, i);
  });
  const waitsFor = graph.node.map((node, i) =>
    node.input.filter((name) => made.has(name) && made.get(name) !== i).map((name) => made.get(name)!),
  );
  const feeds = graph.node.map(() => [] as number[]);
  waitsFor.forEach((before, i) => {
    for (const from of before) feeds[from]!.push(i);
  });
  const open = waitsFor.map((before) => before.length);
  const ready = open.flatMap((count, i) => (count === 0 ? [i] : []));
  const order: NodeProto[] = [];
  for (let next = 0; next < ready.length; next++) {
    const i = ready[next]!;
    order.push(graph.node[i]!);
    for (const to of feeds[i]!) if (--open[to]! === 0) ready.push(to);
  }
  if (order.length !== graph.node.length) throw refuse('the graph has a cycle');
  return order;
}

/** Names of initializers that no node and no output uses are removed. */
export function dropUnused(graph: GraphProto): void {
  const used = new Set([
    ...graph.node.flatMap((node) => node.input),
    ...graph.output.map((value) => value.name),
  ]);
  const opaque = graph.node.some((node) => node.attribute.some((a) => a.g?.length || a.graphs?.length));
  if (!opaque) graph.initializer = graph.initializer.filter((tensor) => used.has(tensor.name));
}
