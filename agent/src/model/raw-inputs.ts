/** Layers that read a model's inputs as they come, and whether one 8-bit range can hold them. Pure. */
import type { Columns } from './columns.ts';
import type { ComputeNode } from './compute-nodes.ts';
import {
  dimsOf,
  floatsOf,
  type GraphProto,
  initializersOf,
  isStandard,
  makersOf,
  type TensorProto,
} from './graph.ts';

/** These pass values on as they are. */
const PASSING = new Set([
  'Identity',
  'Reshape',
  'Flatten',
  'Transpose',
  'Squeeze',
  'Unsqueeze',
  'Concat',
  'Slice',
]);
/** Below this, rounding alone costs what a whole int8 model may (the bound on all nodes together is 20 dB). */
export const LEAST_RAW_DB = 25;

/** A tensor that is a graph input, or one only moved. */
function isRaw(name: string, graph: GraphProto): boolean {
  const makers = makersOf(graph);
  const inputs = new Set(graph.input.map((input) => input.name));
  let at: string | undefined = name;
  for (let steps = 0; at && steps < graph.node.length; steps++) {
    if (inputs.has(at)) return true;
    const maker = makers.get(at);
    at = maker && isStandard(maker) && PASSING.has(maker.opType) ? maker.input[0] : undefined;
  }
  return false;
}

/** Axis of the columns: channels of a convolution, else the last. */
const columnAxis = ({ node }: ComputeNode): number => (node.opType === 'Conv' ? 1 : -1);

export const rawAxes = (compute: readonly ComputeNode[], graph: GraphProto): Map<string, number> =>
  new Map(
    compute
      .filter(({ weight, inputs }) => weight && isRaw(inputs[0]!, graph))
      .map((one) => [one.inputs[0]!, columnAxis(one)]),
  );

/** Squared weight of each input column, summed over all outputs. */
function columnWeights({ node, axis }: ComputeNode, tensor: TensorProto, width: number): Float64Array {
  const dims = dimsOf(tensor);
  const values = floatsOf(tensor);
  const along = node.opType === 'Conv' ? 1 : axis === 0 ? 1 : dims.length - 2;
  const inner = dims.slice(along + 1).reduce((product, dim) => product * dim, 1);
  const rows = dims[along]!;
  // A grouped convolution has fewer rows than channels: each stands for several groups.
  const sums = new Float64Array(Math.max(width, rows));
  const perGroup = (dims[0]! * rows) / Math.max(1, width);
  values.forEach((w, i) => {
    const row = Math.floor(i / inner) % rows;
    const group = node.opType === 'Conv' && rows < width ? Math.floor(i / (inner * rows) / perGroup) : 0;
    sums[group * rows + row]! += w * w;
  });
  return sums;
}

/** Why a layer that reads raw values must stay in float, or undefined. */
export function whyRawStaysFloat(
  compute: ComputeNode,
  columns: Columns | undefined,
  graph: GraphProto,
): string | undefined {
  const tensor = initializersOf(graph).get(compute.weight ?? '');
  if (!columns || !tensor) return undefined;
  const db = columns.signalDb(columnWeights(compute, tensor, columns.width));
  if (db >= LEAST_RAW_DB) return undefined;
  return `it reads raw, unscaled values: one 8-bit range for all ${columns.width} columns leaves ${db.toFixed(1)} dB of them`;
}
