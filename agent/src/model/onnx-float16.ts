/** float16: half the bytes. Nodes whose values come near its limit, or that harm most, stay in float32. */
import { FLOAT16_MAX } from './float16.ts';
import { canBeHalf, type HalfReport, writeHalf } from './float16-graph.ts';
import { loadGraph, type ModelProto, nodeName, saveGraph } from './graph.ts';
import { collect } from './onnx-calibrate.ts';
import { mixPrecision, unloadable, type Writable } from './onnx-mixed.ts';
import type { Made, StaticRequest } from './onnx-static.ts';

export type HalfRequest = Pick<
  StaticRequest,
  'model' | 'isFloat' | 'samples' | 'measure' | 'rank' | 'skip' | 'bounds' | 'onProgress'
>;

/** Room for inputs that calibration did not see. */
const LARGEST = FLOAT16_MAX / 4;
/** float16 keeps eleven bits: what leaves less than this has a node that does not suit it. */
const LEAST_DB = 45;

const chosenIn = (model: ModelProto, names: ReadonlySet<string>, isFloat: HalfRequest['isFloat']) =>
  new Set(model.graph.node.filter((node) => names.has(nodeName(node)) && canBeHalf(node, isFloat)));

/** Nodes that read or make what float16 can not hold, by what calibration saw. */
async function tooLarge(
  { model, isFloat, samples, onProgress }: HalfRequest,
  names: ReadonlySet<string>,
): Promise<Map<string, string>> {
  const nodes = [...chosenIn(model, names, isFloat)];
  const tensors = new Set(nodes.flatMap(({ input, output }) => [...input, ...output].filter(isFloat)));
  const seen = await collect(model, tensors, new Map(), samples, (done) =>
    onProgress(done - 1, samples.length, 'looking for large values'),
  );
  const reasons = new Map<string, string>();
  for (const node of nodes) {
    for (const name of [...node.input, ...node.output].filter(isFloat)) {
      const { min, max, notFinite } = seen.get(name)!.histogram;
      if (notFinite === 0 && Math.max(-min, max) <= LARGEST) continue;
      const largest = notFinite > 0 ? 'infinite' : Math.max(-min, max).toPrecision(3);
      reasons.set(nodeName(node), `\`${name}\` reaches ${largest}, float16 ends at ${FLOAT16_MAX}`);
    }
  }
  return reasons;
}

function warningsOf({ clamped, vanished }: HalfReport): string[] {
  const beyond = [...clamped].map(
    ([name, count]) => `${count} values of \`${name}\` lie beyond ±65504 and were clamped to it`,
  );
  return vanished > 0 ? [...beyond, `${vanished} weights are too small for float16 and became zero`] : beyond;
}

/** @returns only `float`, with the reasons, when nothing can be computed in float16 */
export async function makeFloat16(
  request: HalfRequest,
): Promise<(Made & { warnings: string[] }) | { float: Map<string, string> }> {
  const { model, isFloat, skip } = request;
  const float = new Map<string, string>();
  const names: string[] = [];
  for (const node of model.graph.node) {
    const asked = skip.has(nodeName(node)) || node.output.some((name) => skip.has(name));
    if (asked) float.set(nodeName(node), 'as asked');
    else if (canBeHalf(node, isFloat)) names.push(nodeName(node));
    else float.set(nodeName(node), `${node.opType} stays in float32`);
  }
  const written = saveGraph(model);
  const writeWith = (chosen: ReadonlySet<string>) => {
    const copy = loadGraph(written);
    const report = writeHalf(copy.graph, chosenIn(copy, chosen, isFloat), isFloat);
    return { bytes: saveGraph(copy), report };
  };
  const write = (chosen: ReadonlySet<string>) => writeWith(chosen).bytes;
  if (names.length === 0) return { float };
  for (const [name, reason] of await tooLarge(request, new Set(names))) float.set(name, reason);
  const fitting = names.filter((name) => !float.has(name));
  if (fitting.length === 0) return { float };
  for (const [name, reason] of await unloadable({ nodes: fitting, write })) float.set(name, reason);
  const writable: Writable = { nodes: names.filter((name) => !float.has(name)), write };
  if (writable.nodes.length === 0) return { float };
  const bounds = { ...request.bounds, minSqnrDb: Math.max(LEAST_DB, request.bounds.minSqnrDb) };
  const mixed = await mixPrecision(writable, request, bounds, request.onProgress);
  for (const [name, reason] of mixed.returned) float.set(name, reason);
  const quantized = names.filter((name) => !float.has(name));
  const { report } = writeWith(new Set(quantized));
  return {
    bytes: mixed.bytes,
    method: 'float16',
    quantized,
    float,
    alone: mixed.alone,
    following: [],
    warnings: warningsOf(report),
  };
}
