/** One rewriting for each operator whose form changed between opset 7 and 13. Pure. */
import {
  attributeOf,
  floatOf,
  floatTensor,
  type GraphProto,
  int64Tensor,
  intAttribute,
  intOf,
  intsOf,
  type NodeProto,
  nodeOf,
  toNumber,
} from './graph.ts';
import { freshNames } from './graph-uses.ts';

export interface Rewrite {
  /** First opset in which the operator already has its new form. */
  until: number;
  /** Nodes in place of `node`, or why there are none. New constants go to `graph`. */
  write(node: NodeProto, graph: GraphProto): NodeProto[] | string;
}

const without = (node: NodeProto, ...names: string[]): NodeProto => {
  node.attribute = node.attribute.filter(({ name }) => !names.includes(name));
  return node;
};

function constant(graph: GraphProto, base: string, values: readonly number[]): string {
  const name = freshNames(graph)(base);
  graph.initializer.push(int64Tensor(name, [values.length], values));
  return name;
}

function scalar(graph: GraphProto, base: string, value: number): string {
  const name = freshNames(graph)(base);
  graph.initializer.push(floatTensor(name, [], Float32Array.of(value)));
  return name;
}

/** An attribute of integers becomes input `at`, when it is there. */
const listToInput =
  (attribute: string, at: number): Rewrite['write'] =>
  (node, graph) => {
    const values = intsOf(node, attribute);
    if (values) {
      while (node.input.length < at) node.input.push('');
      node.input[at] = constant(graph, `${node.output[0]}_${attribute}`, values);
    }
    return [without(node, attribute)];
  };

const clip: Rewrite['write'] = (node, graph) => {
  const bounds = ['min', 'max'].map((name) => attributeOf(node, name)?.f);
  const names = bounds.map((value, i) =>
    value === undefined ? '' : scalar(graph, `${node.output[0]}_${i ? 'max' : 'min'}`, value),
  );
  node.input = [node.input[0]!, ...names];
  return [without(node, 'min', 'max')];
};

const pad: Rewrite['write'] = (node, graph) => {
  const pads = intsOf(node, 'pads');
  if (!pads) return 'it has no pads';
  const value = floatOf(node, 'value', 0);
  node.input = [
    node.input[0]!,
    constant(graph, `${node.output[0]}_pads`, pads),
    scalar(graph, `${node.output[0]}_value`, value),
  ];
  return [without(node, 'pads', 'value')];
};

const slice: Rewrite['write'] = (node, graph) => {
  const [starts, ends] = [intsOf(node, 'starts'), intsOf(node, 'ends')];
  if (!starts || !ends) return 'it has no starts and ends';
  const axes = intsOf(node, 'axes') ?? starts.map((_, i) => i);
  const base = node.output[0]!;
  const inputs = Object.entries({ starts, ends, axes });
  node.input = [node.input[0]!, ...inputs.map(([name, list]) => constant(graph, `${base}_${name}`, list))];
  return [without(node, 'starts', 'ends', 'axes')];
};

/** In inference it passes its input on. */
const dropout: Rewrite['write'] = (node) =>
  node.output.length > 1 && node.output[1]
    ? 'its mask is used'
    : [{ ...nodeOf('Identity', [node.input[0]!], [node.output[0]!]), name: node.name }];

const batchNorm: Rewrite['write'] = (node) =>
  intOf(node, 'spatial', 1) === 1 ? [without(node, 'spatial')] : 'it normalises each value by itself';

const rankOf = (graph: GraphProto, name: string): number | undefined =>
  [...graph.input, ...graph.output, ...graph.valueInfo].find((value) => value.name === name)?.type?.tensorType
    ?.shape?.dim.length;

/** Until 12 everything from `axis` (default 1) on was one dimension. */
const overFlattened: Rewrite['write'] = (node, graph) => {
  const axis = intOf(node, 'axis', 1);
  const [x, y] = [node.input[0]!, node.output[0]!];
  const rank = rankOf(graph, x) ?? rankOf(graph, y);
  if (axis === -1 || (rank !== undefined && axis === rank - 1)) {
    return [{ ...without(node, 'axis'), attribute: [intAttribute('axis', -1)] }];
  }
  const fresh = freshNames(graph);
  const [shape, flat, soft] = ['shape', 'flat', 'soft'].map((part) => fresh(`${y}_${part}`));
  return [
    nodeOf('Shape', [x], [shape!]),
    nodeOf('Flatten', [x], [flat!], [intAttribute('axis', axis)]),
    nodeOf(node.opType, [flat!], [soft!], [intAttribute('axis', -1)]),
    nodeOf('Reshape', [soft!, shape!], [y]),
  ];
};

const text = (name: string, value: string) => ({ name, type: 3, s: new TextEncoder().encode(value) });

/** Upsample and the first Resize counted coordinates from the corner and rounded down. */
const resize: Rewrite['write'] = (node, graph) => {
  const scales = attributeOf(node, 'scales')?.floats;
  let input = node.input[1];
  if (scales) {
    input = freshNames(graph)(`${node.output[0]}_scales`);
    graph.initializer.push(floatTensor(input, [scales.length], Float32Array.from(scales)));
  }
  if (!input) return 'it has no scales';
  node.opType = 'Resize';
  node.input = [node.input[0]!, '', input];
  node.attribute = [
    ...without(node, 'scales').attribute,
    text('coordinate_transformation_mode', 'asymmetric'),
    text('nearest_mode', 'floor'),
  ];
  return [node];
};

const topK: Rewrite['write'] = (node, graph) => {
  const k = attributeOf(node, 'k');
  if (k) node.input = [node.input[0]!, constant(graph, `${node.output[0]}_k`, [toNumber(k.i)])];
  return [without(node, 'k')];
};

const scatter: Rewrite['write'] = (node) => {
  node.opType = 'ScatterElements';
  return [node];
};

export const REWRITES: Record<string, Rewrite> = {
  BatchNormalization: { until: 9, write: batchNorm },
  Clip: { until: 11, write: clip },
  Dropout: { until: 12, write: dropout },
  Hardmax: { until: 13, write: overFlattened },
  LogSoftmax: { until: 13, write: overFlattened },
  Pad: { until: 11, write: pad },
  ReduceSum: { until: 13, write: listToInput('axes', 1) },
  Resize: { until: 11, write: resize },
  Scatter: { until: 99, write: scatter },
  Slice: { until: 10, write: slice },
  Softmax: { until: 13, write: overFlattened },
  Split: { until: 13, write: listToInput('split', 1) },
  Squeeze: { until: 13, write: listToInput('axes', 1) },
  TopK: { until: 10, write: topK },
  Unsqueeze: { until: 13, write: listToInput('axes', 1) },
  Upsample: { until: 99, write: resize },
};
