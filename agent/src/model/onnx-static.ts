/** Static int8: ranges measured on calibration data, methods and the following of operators compared by their SQNR. */
import type { Tensors } from '../inference/backend.ts';
import { CALIBRATION_CHOICES, type CalibrationMethod, methodName, rangeOf } from './calibrate.ts';
import type { Comparison } from './compare-outputs.ts';
import { type ComputeNode, candidatesOf } from './compute-nodes.ts';
import { loadGraph, type ModelProto, nodeName, saveGraph } from './graph.ts';
import { type Bounds, isAccurate } from './judge-quantized.ts';
import { collect, type Seen } from './onnx-calibrate.ts';
import { type Measures, mixPrecision, type Progress, unloadable, type Writable } from './onnx-mixed.ts';
import { writeQuantized } from './quantize.ts';
import { type Following, planQuantization } from './quantize-plan.ts';
import type { ActivationType } from './ranges.ts';
import { activationScale } from './ranges.ts';
import { rawAxes, whyRawStaysFloat } from './raw-inputs.ts';

export interface StaticRequest extends Measures {
  model: ModelProto;
  isFloat(name: string): boolean;
  samples: readonly Tensors[];
  skip: ReadonlySet<string>;
  method: CalibrationMethod | undefined;
  activations: ActivationType;
  weightLimit: number;
  bounds: Bounds;
  onProgress: Progress;
}

export interface Made {
  bytes: Uint8Array;
  method: string;
  quantized: string[];
  /** Nodes that could be expected in int8 and are not. */
  float: Map<string, string>;
  alone: Map<string, number>;
  /** Operators that follow in int8. */
  following: string[];
}

interface Choice {
  method: CalibrationMethod;
  following: Following;
}

class StaticSearch {
  readonly #request: StaticRequest;
  readonly #seen: ReadonlyMap<string, Seen>;
  readonly #written: Uint8Array;
  readonly nodes: string[];

  constructor(request: StaticRequest, usable: readonly ComputeNode[], seen: ReadonlyMap<string, Seen>) {
    this.#request = request;
    this.#seen = seen;
    this.#written = saveGraph(request.model);
    this.nodes = usable.map(({ node }) => nodeName(node));
  }

  #plan(quantized: ReadonlySet<string>, following: Following) {
    const model = loadGraph(this.#written);
    const { compute } = candidatesOf(model.graph, new Set(), this.#request.isFloat);
    const chosen = compute.filter(({ node }) => quantized.has(nodeName(node)));
    return { model, plan: planQuantization(model.graph, chosen, following) };
  }

  write(quantized: ReadonlySet<string>, { method, following }: Choice): Uint8Array {
    const { activations, weightLimit } = this.#request;
    const { model, plan } = this.#plan(quantized, following);
    const scales = new Map(
      [...plan.pairs].map((name) => [
        name,
        activationScale(rangeOf(this.#seen.get(name)!.histogram, method), activations),
      ]),
    );
    writeQuantized(model, plan, scales, { weightLimit, activations });
    return saveGraph(model);
  }

  followers(quantized: ReadonlySet<string>, following: Following): string[] {
    return this.#plan(quantized, following).plan.following.map(nodeName);
  }

  writable(choice: Choice): Writable {
    return { nodes: this.nodes, write: (quantized) => this.write(quantized, choice) };
  }
}

/** Nodes whose tensors hold infinities, or that read raw values, stay in float. */
function whyFloat(
  compute: ComputeNode,
  seen: ReadonlyMap<string, Seen>,
  model: ModelProto,
): string | undefined {
  const inputs = compute.inputs.map((name) => seen.get(name)!);
  const infinite = compute.inputs.find((_, i) => inputs[i]!.histogram.notFinite > 0);
  if (infinite) return `\`${infinite}\`, which it reads, holds infinities`;
  return whyRawStaysFloat(compute, inputs[0]!.columns, model.graph);
}

/** The method that leaves the most signal; the first of equals. */
async function bestMethod(search: StaticSearch, request: StaticRequest) {
  const methods = request.method ? [request.method] : CALIBRATION_CHOICES;
  const all = new Set(search.nodes);
  let best: { method: CalibrationMethod; comparison: Comparison } | undefined;
  for (const [i, method] of methods.entries()) {
    request.onProgress(i, methods.length, `calibrated by ${methodName(method)}`);
    const comparison = await request.measure(search.write(all, { method, following: 'wide' }));
    if (!best || comparison.sqnrDb > best.comparison.sqnrDb) best = { method, comparison };
  }
  return best!;
}

/** What combines values in float costs time: it goes back only where the bounds do not hold otherwise. */
const CLEARLY_DB = 0.5;

async function bestChoice(search: StaticSearch, request: StaticRequest): Promise<Choice> {
  const { method, comparison } = await bestMethod(search, request);
  if (isAccurate(comparison, request.bounds)) return { method, following: 'wide' };
  const narrow: Choice = { method, following: 'narrow' };
  const { sqnrDb } = await request.measure(search.write(new Set(search.nodes), narrow));
  return sqnrDb > comparison.sqnrDb + CLEARLY_DB ? narrow : { method, following: 'wide' };
}

/** @returns undefined, with the reasons in `float`, when nothing can run in int8 */
export async function makeStatic(request: StaticRequest): Promise<Made | { float: Map<string, string> }> {
  const { model, samples, bounds, onProgress } = request;
  const { compute, refused } = candidatesOf(model.graph, request.skip, request.isFloat);
  const float = new Map(refused.map(({ node, reason }) => [nodeName(node), reason]));
  if (compute.length === 0) return { float };
  const { pairs } = planQuantization(model.graph, compute, 'wide');
  const seen = await collect(model, pairs, rawAxes(compute, model.graph), samples, (done) =>
    onProgress(done - 1, samples.length, 'calibrating'),
  );
  const usable = compute.filter((one) => {
    const why = whyFloat(one, seen, model);
    if (why) float.set(nodeName(one.node), why);
    return !why;
  });
  if (usable.length === 0) return { float };
  const loadable = new StaticSearch(request, usable, seen);
  const bad = await unloadable(loadable.writable({ method: { kind: 'min-max' }, following: 'wide' }));
  for (const [name, reason] of bad) float.set(name, reason);
  const search = new StaticSearch(
    request,
    usable.filter(({ node }) => !bad.has(nodeName(node))),
    seen,
  );
  if (search.nodes.length === 0) return { float };
  const choice = await bestChoice(search, request);
  const mixed = await mixPrecision(search.writable(choice), request, bounds, onProgress);
  for (const [name, reason] of mixed.returned) float.set(name, reason);
  const quantized = search.nodes.filter((name) => !mixed.returned.has(name));
  return {
    bytes: mixed.bytes,
    method: methodName(choice.method),
    quantized,
    float,
    alone: mixed.alone,
    following: search.followers(new Set(quantized), choice.following),
  };
}
