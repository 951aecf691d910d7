/** Dynamic int8: no calibration, ranges are found at each run. Nodes that harm most stay in float. */
import { candidatesOf } from './compute-nodes.ts';
import { isDynamic, writeDynamic } from './dynamic-int8.ts';
import { loadGraph, nodeName, saveGraph } from './graph.ts';
import { mixPrecision, unloadable, type Writable } from './onnx-mixed.ts';
import type { Made, StaticRequest } from './onnx-static.ts';

export type DynamicRequest = Pick<
  StaticRequest,
  'model' | 'isFloat' | 'measure' | 'rank' | 'skip' | 'weightLimit' | 'bounds' | 'onProgress'
>;

/** @returns only `float`, with the reasons, when nothing can run in int8 */
export async function makeDynamic(request: DynamicRequest): Promise<Made | { float: Map<string, string> }> {
  const { model, isFloat, skip, weightLimit } = request;
  const { compute, refused } = candidatesOf(model.graph, skip, isFloat);
  const float = new Map(refused.map(({ node, reason }) => [nodeName(node), reason]));
  for (const one of compute.filter((found) => !isDynamic(found))) {
    float.set(nodeName(one.node), 'only products with constant weights gain from dynamic int8');
  }
  const written = saveGraph(model);
  const write = (quantized: ReadonlySet<string>) => {
    const copy = loadGraph(written);
    const all = candidatesOf(copy.graph, new Set(), isFloat).compute;
    writeDynamic(
      copy.graph,
      all.filter((one) => isDynamic(one) && quantized.has(nodeName(one.node))),
      weightLimit,
    );
    return saveGraph(copy);
  };
  const names = compute.filter(isDynamic).map(({ node }) => nodeName(node));
  if (names.length === 0) return { float };
  for (const [name, reason] of await unloadable({ nodes: names, write })) float.set(name, reason);
  const writable: Writable = { nodes: names.filter((name) => !float.has(name)), write };
  if (writable.nodes.length === 0) return { float };
  const mixed = await mixPrecision(writable, request, request.bounds, request.onProgress);
  for (const [name, reason] of mixed.returned) float.set(name, reason);
  return {
    bytes: mixed.bytes,
    method: 'dynamic',
    quantized: names.filter((name) => !float.has(name)),
    float,
    alone: mixed.alone,
    following: [],
  };
}
