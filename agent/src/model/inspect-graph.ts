/**
 * What an ONNX file says of itself, read from its protobuf: it need not be one that a runtime accepts. Pure.
 */
import { externalFile } from './external-data.ts';
import {
  dataTypeName,
  dimsOf,
  type GraphProto,
  type ModelProto,
  type NodeProto,
  opsetOf,
  toNumber,
} from './graph.ts';
import { bytesOf, elementsOf, FLOAT_TYPES, factsOf, numbersIn } from './weights.ts';

export interface WeightRow {
  name: string;
  type: string;
  shape: number[];
  /** Share of zeros. */
  sparsity: number;
}

export interface GraphFacts {
  opset: number;
  /** Operator sets by domain; the default one is `ai.onnx`. */
  opsets: Record<string, number>;
  ir: number;
  producer: string;
  inputs: string[];
  outputs: string[];
  nodes: number;
  operators: Record<string, number>;
  parameters: number;
  /** Values by element type. */
  weights: Record<string, number>;
  weightBytes: number;
  /** Share of zeros of all weights of more than one axis. */
  sparsity: number;
  largestWeights: WeightRow[];
  quantized: string;
  problems: string[];
}

type ValueInfo = GraphProto['input'][number];

const dimText = (dim: { dimValue?: Parameters<typeof toNumber>[0]; dimParam?: string }): string =>
  dim.dimParam ||
  (dim.dimValue === undefined || dim.dimValue === null ? '?' : String(toNumber(dim.dimValue)));

function valueText({ name, type }: ValueInfo): string {
  const tensor = type?.tensorType;
  if (!tensor) return `${name}: not a tensor`;
  const dims = tensor.shape?.dim.map(dimText);
  return `${name}: ${dataTypeName(tensor.elemType)}${dims ? `[${dims.join(', ')}]` : ' of any shape'}`;
}

/** Most first. */
function tally(names: Iterable<string>): Record<string, number> {
  const counts = new Map<string, number>();
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
  return Object.fromEntries([...counts].sort(([, a], [, b]) => b - a));
}

const DEFAULT_DOMAINS = new Set(['', 'ai.onnx']);
const KNOWN_DOMAINS = new Set([
  '',
  'ai.onnx',
  'ai.onnx.ml',
  'ai.onnx.preview.training',
  'com.microsoft',
  'com.microsoft.nchwc',
  'com.microsoft.experimental',
]);
const opName = ({ domain, opType }: NodeProto): string =>
  DEFAULT_DOMAINS.has(domain ?? '') ? opType : `${domain}.${opType}`;

/** Real inputs: files before IR 4 list their initializers among them. */
const inputsOf = (graph: GraphProto): ValueInfo[] => {
  const constants = new Set(graph.initializer.map(({ name }) => name));
  return graph.input.filter(({ name }) => !constants.has(name));
};

/** How the file is quantized, in words. */
export function quantizationOf(graph: GraphProto): string {
  const has = (...types: string[]) => graph.node.some(({ opType }) => types.includes(opType));
  const said: string[] = [];
  if (has('DequantizeLinear')) said.push(`QDQ, weights ${granularity(graph)}`);
  if (has('QLinearConv', 'QLinearMatMul', 'QGemm', 'QLinearAdd')) said.push('QOperator');
  if (has('MatMulInteger', 'ConvInteger', 'DynamicQuantizeLinear', 'DynamicQuantizeMatMul'))
    said.push('dynamic');
  if (has('MatMulNBits')) said.push('4-bit blocks');
  const halves = graph.initializer.filter(({ dataType }) => dataType === 10).length;
  if (
    halves > 0 &&
    2 * halves >= graph.initializer.filter(({ dataType }) => FLOAT_TYPES.has(dataType)).length
  )
    said.push('fp16');
  return said.join('; ') || 'no';
}

/** Weights that are dequantized with one scale, or one for each channel. */
function granularity(graph: GraphProto): string {
  const constants = new Map(graph.initializer.map((tensor) => [tensor.name, tensor]));
  const scales = graph.node
    .filter(({ opType, input }) => opType === 'DequantizeLinear' && constants.has(input[0] ?? ''))
    .map(({ input }) => constants.get(input[1] ?? ''));
  const perChannel = scales.filter((scale) => scale && elementsOf(scale) > 1).length;
  if (scales.length === 0) return 'in float';
  return perChannel === 0
    ? 'per tensor'
    : perChannel === scales.length
      ? 'per channel'
      : 'per channel and per tensor';
}

const SHOWN = 5;
const names = (list: readonly string[]): string =>
  `${list
    .slice(0, SHOWN)
    .map((name) => `\`${name}\``)
    .join(', ')}${list.length > SHOWN ? ` and ${list.length - SHOWN} more` : ''}`;

function shapeProblems(inputs: readonly ValueInfo[]): string[] {
  const free = inputs.filter(({ type }) =>
    type?.tensorType?.shape?.dim.slice(1).some((dim) => !/^\d+$/.test(dimText(dim))),
  );
  const unknown = inputs.filter(({ type }) => type?.tensorType && !type.tensorType.shape);
  return [
    ...free.map(
      (input) =>
        `input ${valueText(input)} has free dimensions besides the first: fix them, or measure with real data`,
    ),
    ...unknown.map(({ name }) => `input \`${name}\` declares no shape`),
  ];
}

function weightProblems({ graph }: ModelProto): string[] {
  const problems: string[] = [];
  const bad = graph.initializer.filter((tensor) => {
    const values = FLOAT_TYPES.has(tensor.dataType) ? numbersIn(tensor) : undefined;
    return values !== undefined && factsOf(values).notFinite > 0;
  });
  if (bad.length > 0)
    problems.push(`NaN or infinity in the weights of ${names(bad.map(({ name }) => name))}`);
  const short = graph.initializer.filter((tensor) => {
    const values = numbersIn(tensor);
    return values !== undefined && values.length !== elementsOf(tensor);
  });
  if (short.length > 0)
    problems.push(`fewer or more values than its shape has: ${names(short.map(({ name }) => name))}`);
  const doubles = graph.initializer.filter(({ dataType }) => dataType === 11);
  if (doubles.length > 0)
    problems.push(`float64 weights, twice the memory of float32: ${names(doubles.map(({ name }) => name))}`);
  return problems;
}

function unusedProblems(graph: GraphProto): string[] {
  // Subgraphs are not read, and may use anything.
  if (graph.node.some((node) => node.attribute.some(({ g, graphs }) => g?.length || graphs?.length)))
    return [];
  const used = new Set([
    ...graph.node.flatMap(({ input }) => input),
    ...graph.output.map(({ name }) => name),
  ]);
  const unused = graph.initializer.filter(({ name }) => !used.has(name)).map(({ name }) => name);
  return unused.length === 0 ? [] : [`initializers that nothing uses: ${names(unused)}`];
}

function opsetProblems(model: ModelProto): string[] {
  const opset = opsetOf(model);
  const custom = [...new Set(model.graph.node.map(({ domain }) => domain ?? ''))].filter(
    (d) => !KNOWN_DOMAINS.has(d),
  );
  return [
    ...(opset === 0 ? ['no default operator set is named'] : []),
    ...(opset > 0 && opset < 7 ? [`opset ${opset} is older than onnxruntime runs (7)`] : []),
    ...(opset >= 7 && opset < 13
      ? [`opset ${opset}: per-channel int8 needs 13 (quantize raises it where nothing changed)`]
      : []),
    ...custom.map(
      (domain) => `custom domain \`${domain}\`: its operators need a library that the agent does not load`,
    ),
  ];
}

/** @param isThere whether a file beside the model exists */
function externalProblems({ graph }: ModelProto, isThere: (name: string) => boolean): string[] {
  const files = [...new Set(graph.initializer.flatMap((tensor) => externalFile(tensor) ?? []))];
  return files.map((file) =>
    isThere(file)
      ? `weights are in another file, \`${file}\`: save the model with its weights inside`
      : `weights are missing: they are in another file, \`${file}\`, which is not there`,
  );
}

const LARGEST = 5;

export function graphFacts(model: ModelProto, isThere: (name: string) => boolean): GraphFacts {
  const { graph } = model;
  const weights: Record<string, number> = {};
  for (const tensor of graph.initializer) {
    const type = dataTypeName(tensor.dataType);
    weights[type] = (weights[type] ?? 0) + elementsOf(tensor);
  }
  const rows = graph.initializer
    .filter((tensor) => dimsOf(tensor).length > 1)
    .map((tensor) => ({ tensor, facts: factsOf(numbersIn(tensor) ?? []) }))
    .sort((a, b) => b.facts.count - a.facts.count);
  const total = rows.reduce((sum, { facts }) => sum + facts.count, 0);
  const zeros = rows.reduce((sum, { facts }) => sum + facts.zeros, 0);
  const share = (part: number, whole: number) => (whole === 0 ? 0 : Number((part / whole).toFixed(4)));
  return {
    opset: opsetOf(model),
    opsets: Object.fromEntries(
      model.opsetImport.map(({ domain, version }) => [domain || 'ai.onnx', toNumber(version)]),
    ),
    ir: toNumber(model.irVersion),
    producer: [model.producerName, model.producerVersion].filter(Boolean).join(' '),
    inputs: inputsOf(graph).map(valueText),
    outputs: graph.output.map(valueText),
    nodes: graph.node.length,
    operators: tally(graph.node.map(opName)),
    parameters: Object.values(weights).reduce((sum, count) => sum + count, 0),
    weights,
    weightBytes: graph.initializer.reduce((sum, tensor) => sum + bytesOf(tensor), 0),
    sparsity: share(zeros, total),
    largestWeights: rows.slice(0, LARGEST).map(({ tensor, facts }) => ({
      name: tensor.name,
      type: dataTypeName(tensor.dataType),
      shape: dimsOf(tensor),
      sparsity: share(facts.zeros, facts.count),
    })),
    quantized: quantizationOf(graph),
    problems: [
      ...opsetProblems(model),
      ...externalProblems(model, isThere),
      ...weightProblems(model),
      ...unusedProblems(graph),
      ...shapeProblems(inputsOf(graph)),
    ],
  };
}
