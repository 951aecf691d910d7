/**
 * ONNX files as graphs: load within bounds, edit, save. Pure: bytes in, bytes out.
 *
 * Limits: 1 GiB a file, 100,000 nodes, and those of graph-wire.ts. Weights must be inside the file (external data is
 * refused). Subgraphs of If, Loop and Scan are carried along unedited; what they read from outside is respected.
 */
import {
  type AttributeProto,
  decodeModel,
  decodeSparse,
  encodeModel,
  type GraphProto,
  type ModelProto,
  type NodeProto,
  type TensorProto,
} from './graph-schema.ts';
import { invalidModel, toNumber } from './graph-tensors.ts';
import { scanModel } from './graph-wire.ts';

export type { GraphProto, ModelProto, NodeProto, TensorProto } from './graph-schema.ts';
export * from './graph-tensors.ts';
export * from './graph-uses.ts';

export const MAX_MODEL_BYTES = 2 ** 30;
export const MAX_NODES = 100_000;

/** @throws SkeinError MODEL_INVALID */
export function loadGraph(bytes: Uint8Array): ModelProto {
  if (bytes.length > MAX_MODEL_BYTES)
    throw invalidModel(`the model has ${bytes.length} bytes, at most 1 GiB is read`);
  let model: ModelProto;
  let tensors: TensorProto[];
  try {
    scanModel(bytes);
    model = decodeModel(bytes);
    tensors = model.graph ? tensorsOf(model.graph) : [];
  } catch (cause) {
    const why = cause instanceof Error ? `: ${cause.message}` : '';
    throw invalidModel(
      `the file is not an ONNX model${why}`,
      'Give a file that ends in .onnx and is complete.',
      cause,
    );
  }
  if (!model.graph || model.graph.node.length === 0)
    throw invalidModel('the file is not an ONNX model: it has no graph');
  if (model.graph.node.length > MAX_NODES) throw invalidModel(`the graph has more than ${MAX_NODES} nodes`);
  refuseExternal(tensors);
  return model;
}

const tensorsOf = (graph: GraphProto): TensorProto[] => [
  ...graph.initializer,
  ...graph.node.flatMap(({ attribute }) => attribute.flatMap(({ t }) => t ?? [])),
  ...(graph.sparseInitializer ?? []).flatMap((bytes) => decodeSparse(bytes).values ?? []),
];

/** TensorProto.DataLocation.EXTERNAL: the bytes are in a file whose path the model chooses; none is opened. */
function refuseExternal(tensors: readonly TensorProto[]): void {
  const outside = tensors.find((tensor) => tensor.dataLocation === 1 || tensor.externalData?.length);
  if (!outside) return;
  throw invalidModel(
    `the weights of \`${outside.name}\` are in another file`,
    'Save the model with its weights inside.',
  );
}

export const saveGraph = (model: ModelProto): Uint8Array => encodeModel(model);

const isDefault = (domain: string | undefined): boolean => !domain || domain === 'ai.onnx';

/** Version of the default operator set; 0 when the file names none. */
export const opsetOf = (model: ModelProto): number =>
  toNumber(model.opsetImport.find(({ domain }) => isDefault(domain))?.version);

/** Other domains keep theirs. */
export function setOpset(model: ModelProto, version: number): void {
  for (const entry of model.opsetImport) if (isDefault(entry.domain)) entry.version = version;
}

/** An operator of ONNX itself, not of another domain or a function of the model. */
export const isStandard = ({ domain }: NodeProto): boolean => isDefault(domain);

/** AttributeProto.AttributeType */
const ATTRIBUTE = { float: 1, int: 2, ints: 7 } as const;
export const intAttribute = (name: string, i: number): AttributeProto => ({ name, type: ATTRIBUTE.int, i });
export const intsAttribute = (name: string, ints: number[]): AttributeProto => ({
  name,
  type: ATTRIBUTE.ints,
  ints,
});
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
export const intsOf = (node: NodeProto, name: string): number[] | undefined =>
  attributeOf(node, name)?.ints?.map(toNumber);
export const floatOf = (node: NodeProto, name: string, otherwise: number): number =>
  attributeOf(node, name)?.f ?? otherwise;

export const nodeOf = (
  opType: string,
  input: string[],
  output: string[],
  attribute: AttributeProto[] = [],
): NodeProto => ({ opType, input, output, attribute, name: `${opType}_${output[0]}` });

/** What people call a node: its name, or its first output when it has none. */
export const nodeName = (node: NodeProto): string => node.name || node.output[0] || node.opType;

/** A whole float model. Opset 17 needs IR 8. */
export const modelOf = (graph: GraphProto, opset = 17): ModelProto => ({
  irVersion: 8,
  producerName: 'skein-model',
  opsetImport: [{ domain: '', version: opset }],
  graph,
});
