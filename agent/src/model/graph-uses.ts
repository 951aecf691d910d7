/**
 * Who reads what in a graph. Subgraphs of If, Loop and Scan are carried along as bytes and never edited, but they may
 * read any tensor of the graph around them: such a tensor counts as read, is kept, and is made before the node. Pure.
 */
import {
  decodeGraph,
  decodeSparse,
  type GraphProto,
  type NodeProto,
  type TensorProto,
} from './graph-schema.ts';
import { invalidModel } from './graph-tensors.ts';

const seen = new WeakMap<Uint8Array, readonly string[]>();

/** @throws SkeinError MODEL_INVALID */
export function openSubgraph(bytes: Uint8Array): GraphProto {
  try {
    return decodeGraph(bytes);
  } catch (cause) {
    throw invalidModel('a subgraph can not be read', undefined, cause);
  }
}

/** Names that a subgraph takes from outside: those it reads and neither declares nor makes. */
function outerNames(bytes: Uint8Array): readonly string[] {
  const known = seen.get(bytes);
  if (known) return known;
  const graph = openSubgraph(bytes);
  const own = new Set([
    ...graph.input.map(({ name }) => name),
    ...graph.initializer.map(({ name }) => name),
    ...sparseNames(graph),
    ...graph.node.flatMap(({ output }) => output),
  ]);
  const read = [...graph.node.flatMap(usesOf), ...graph.output.map(({ name }) => name)];
  const outer = [...new Set(read)].filter((name) => name !== '' && !own.has(name));
  seen.set(bytes, outer);
  return outer;
}

export const subgraphsOf = (node: NodeProto): Uint8Array[] =>
  node.attribute.flatMap((attribute) => [
    ...(attribute.g?.length ? [attribute.g] : []),
    ...(attribute.graphs ?? []),
  ]);

/** Everything that a node reads, through its subgraphs as well; no empty names. @throws SkeinError MODEL_INVALID */
export const usesOf = (node: NodeProto): string[] => {
  const graphs = subgraphsOf(node);
  const direct = node.input.filter((name) => name !== '');
  return graphs.length === 0 ? direct : [...direct, ...graphs.flatMap(outerNames)];
};

export const sparseNames = (graph: GraphProto): string[] =>
  (graph.sparseInitializer ?? []).map((bytes) => decodeSparse(bytes).values?.name ?? '');

/** Tensor → nodes that read it. */
export function readersOf(graph: GraphProto): Map<string, NodeProto[]> {
  const readers = new Map<string, NodeProto[]>();
  for (const node of graph.node) {
    for (const name of new Set(usesOf(node))) {
      const list = readers.get(name);
      if (list) list.push(node);
      else readers.set(name, [node]);
    }
  }
  return readers;
}

/** Tensor → node that makes it. */
export const makersOf = (graph: GraphProto): Map<string, NodeProto> =>
  new Map(graph.node.flatMap((node) => node.output.filter(Boolean).map((name) => [name, node] as const)));

export const initializersOf = (graph: GraphProto): Map<string, TensorProto> =>
  new Map(graph.initializer.map((tensor) => [tensor.name, tensor]));

/** Nodes in an order in which every input is made before it is used (Kahn). @throws SkeinError MODEL_INVALID on a cycle */
export function sortNodes(graph: GraphProto): NodeProto[] {
  const made = new Map<string, number>();
  graph.node.forEach((node, i) => {
    for (const name of node.output) if (name) made.set(name, i);
  });
  const waitsFor = graph.node.map((node, i) =>
    usesOf(node)
      .filter((name) => made.has(name) && made.get(name) !== i)
      .map((name) => made.get(name)!),
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
  if (order.length !== graph.node.length) throw invalidModel('the graph has a cycle');
  return order;
}

/** Initializers that no node, subgraph or output uses are removed. */
export function dropUnused(graph: GraphProto): void {
  const used = new Set([...graph.node.flatMap(usesOf), ...graph.output.map((value) => value.name)]);
  graph.initializer = graph.initializer.filter((tensor) => used.has(tensor.name));
}

/** Makes names that nothing in the graph has yet: `base`, or `base_2`, `base_3` … */
export function freshNames(graph: GraphProto): (base: string) => string {
  const taken = new Set([
    ...graph.node.flatMap((node) => [node.name, ...node.output, ...usesOf(node)]),
    ...graph.initializer.map(({ name }) => name),
    ...sparseNames(graph),
    ...[...graph.input, ...graph.output].map(({ name }) => name),
  ]);
  return (base) => {
    let name = base;
    for (let n = 2; taken.has(name); n++) name = `${base}_${n}`;
    taken.add(name);
    return name;
  };
}
