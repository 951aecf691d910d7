/**
 * The quantizer's shell: prepares a float model, makes a smaller one (static or dynamic int8, or float16), and compares
 * the two on data that calibration has not seen. Methods, following operators and mixed precision are chosen by
 * measurement, never assumed; the verdict says whether the outcome is as accurate and as fast as asked.
 */
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Bytes } from '@skein/protocol/units.ts';
import type { Tensors } from '../inference/backend.ts';
import type { CalibrationMethod } from './calibrate.ts';
import { type LabelledSample, spaced, splitData } from './calibration-data.ts';
import type { Comparison, OutputComparison } from './compare-outputs.ts';
import { badWeight } from './compute-nodes.ts';
import { productsToGemms } from './gemm-forms.ts';
import { loadGraph, type ModelProto, nodeName, saveGraph } from './graph.ts';
import { prepareForQuantization } from './graph-passes.ts';
import {
  type Accuracy,
  type Bounds,
  DEFAULT_BOUNDS,
  judgeQuantized,
  type Verdict,
} from './judge-quantized.ts';
import { int8Warning, readProcessor } from './linux-processor.ts';
import { makeDynamic } from './onnx-dynamic.ts';
import { makeFloat16 } from './onnx-float16.ts';
import type { Measures, Progress } from './onnx-mixed.ts';
import { compareWith, evaluate, type InferredType, inferTypes, medians, runAll } from './onnx-model.ts';
import { type Made, makeStatic } from './onnx-static.ts';
import type { ActivationType } from './ranges.ts';

export { compareOutputs } from './compare-outputs.ts';
export { openModel, runAll } from './onnx-model.ts';

export type QuantizeMode = 'static' | 'dynamic' | 'fp16';

export interface QuantizeOptions {
  mode?: QuantizeMode;
  /** Node names, or their first outputs, that stay in float. */
  skip?: readonly string[];
  /** What calibration takes as range; several are tried and the best is taken when absent. */
  calibration?: CalibrationMethod;
  activations?: ActivationType;
  /** Seven-bit weights, for processors without VNNI (see WriteOptions.weightLimit). */
  reduceRange?: boolean;
  bounds?: Partial<Bounds>;
  /** Measured on these; else a quarter of the samples is kept from calibration. */
  evaluate?: readonly LabelledSample[];
  /** Known classes of `samples`, as positions of the largest output. */
  labels?: readonly (number | undefined)[];
  onProgress?: Progress;
}

export interface QuantizeReport extends Comparison {
  mode: QuantizeMode;
  method: string;
  verdict: Verdict;
  warnings: string[];
  /** Of each output. */
  outputs: OutputComparison[];
  /** On labels, when they were given. */
  accuracy: Accuracy | null;
  heldOut: boolean;
  int8Nodes: string[];
  /** Costly nodes left in float, with the reason. */
  floatNodes: { name: string; reason: string }[];
  /** Operators that run in int8 between them. */
  followingNodes: string[];
  /** SQNR of the whole model with this node alone quantized, worst first; only when it had to be measured. */
  sensitivity: { name: string; sqnrDb: number }[];
  sizeBytes: { float: Bytes; int8: Bytes };
  p50Us: { float: number; int8: number };
  processor: { arch: string; int8: string[] };
}

/** What choices are measured on: so many calibration samples, and so many values of their outputs in memory. */
const MOST_MEASURED = 500;
const MOST_RANKED = 64;
const MOST_VALUES = 2 ** 24;
/** Folding and raising only round otherwise. */
const LEAST_PREPARED_DB = 60;

/** @throws SkeinError MODEL_INVALID when a tensor's type can not be told or an edit changed what the model computes */
async function prepare(bytes: Uint8Array, samples: readonly Tensors[], expected: readonly Tensors[]) {
  const model = loadGraph(bytes);
  prepareForQuantization(model);
  const bad = badWeight(model.graph);
  if (bad) throw new SkeinError('MODEL_INVALID', bad, { fix: 'Repair the model; it can not be trusted.' });
  const types = await inferTypes(model);
  productsToGemms(model.graph, (name) => types.get(name)?.shape.length);
  const { sqnrDb } = await compareWith(expected, saveGraph(model), samples);
  if (sqnrDb >= LEAST_PREPARED_DB) return { model, types };
  throw new SkeinError(
    'MODEL_INVALID',
    `raised to opset 13 and folded, the model no longer computes the same (${sqnrDb.toFixed(1)} dB)`,
    { fix: 'Export it with opset 13 or newer and without training-time operators.' },
  );
}

async function measuredSamples(bytes: Uint8Array, calibration: readonly Tensors[]) {
  const [first] = await runAll(bytes, calibration.slice(0, 1));
  const values = Object.values(first!).reduce((sum, { data }) => sum + data.length, 1);
  const count = Math.max(1, Math.min(MOST_MEASURED, Math.floor(MOST_VALUES / values)));
  const samples = spaced(calibration, count);
  return { samples, expected: await runAll(bytes, samples) };
}

interface Work {
  model: ModelProto;
  types: ReadonlyMap<string, InferredType>;
  calibration: readonly Tensors[];
  measures: Measures;
  bounds: Bounds;
  options: QuantizeOptions;
}

function make({ model, types, calibration, measures, bounds, options }: Work) {
  const common = {
    model,
    samples: calibration,
    ...measures,
    bounds,
    skip: new Set(options.skip),
    onProgress: options.onProgress ?? (() => undefined),
    isFloat: (name: string) => types.get(name)?.type === 'float32',
  };
  const weightLimit = options.reduceRange ? 63 : 127;
  if (options.mode === 'dynamic') return makeDynamic({ ...common, weightLimit });
  if (options.mode === 'fp16') return makeFloat16(common);
  return makeStatic({
    ...common,
    method: options.calibration,
    activations: options.activations ?? 'u8',
    weightLimit,
  });
}

function unknownSkips(model: ModelProto, skip: readonly string[]): string[] {
  const names = new Set(model.graph.node.flatMap((node) => [nodeName(node), ...node.output]));
  return skip
    .filter((name) => !names.has(name))
    .map((name) => `there is no node \`${name}\` to leave in float`);
}

function refuseAll(float: ReadonlyMap<string, string>): SkeinError {
  const [first] = float;
  return new SkeinError('MODEL_INVALID', 'no node of the model can be quantized', {
    fix: first ? `${first[0]}: ${first[1]}` : 'Only Conv, Gemm and MatMul are quantized; the model has none.',
  });
}

/**
 * @param samples inputs as the model will see them; a quarter of them measures, the others calibrate
 * @throws SkeinError MODEL_INVALID when the model can not be quantized at all, INPUT_NOT_FINITE, each with the reason
 */
export async function quantize(
  bytes: Uint8Array,
  samples: readonly Tensors[],
  options: QuantizeOptions = {},
): Promise<{ bytes: Uint8Array; report: QuantizeReport }> {
  const labelled = samples.map((input, i): LabelledSample => {
    const label = options.labels?.[i];
    return label === undefined ? { input } : { input, label };
  });
  const data = splitData(labelled, options.evaluate);
  const bounds = { ...DEFAULT_BOUNDS, ...options.bounds };
  // The bounded reader first: what it refuses never reaches the runtime's parser.
  loadGraph(bytes);
  const chosen = await measuredSamples(bytes, data.calibration);
  const { model, types } = await prepare(bytes, chosen.samples, chosen.expected);
  const on = (count: number) => {
    const [expected, inputs] = [spaced(chosen.expected, count), spaced(chosen.samples, count)];
    return (candidate: Uint8Array) => compareWith(expected, candidate, inputs);
  };
  const measures = { measure: on(MOST_MEASURED), rank: on(MOST_RANKED) };
  const warnings = [...data.warnings, ...unknownSkips(model, options.skip ?? [])];
  const made = await make({ model, types, calibration: data.calibration, measures, bounds, options });
  if (!('bytes' in made)) throw refuseAll(made.float);
  const report = await reportOn(bytes, made, data, bounds, options.mode ?? 'static');
  report.warnings.unshift(...warnings);
  return { bytes: made.bytes, report };
}

async function reportOn(
  float: Uint8Array,
  made: Made & { warnings?: string[] },
  data: ReturnType<typeof splitData>,
  bounds: Bounds,
  mode: QuantizeMode,
): Promise<QuantizeReport> {
  const found = await evaluate(float, made.bytes, data.evaluation);
  const [before, after] = await medians([float, made.bytes], data.evaluation[0]!.input);
  const p50Ms = { float: before!, quantized: after! };
  const { heldOut } = data;
  const processor = readProcessor();
  const slow = mode === 'fp16' ? undefined : int8Warning(processor);
  return {
    ...found,
    mode,
    method: made.method,
    verdict: judgeQuantized({ ...found, p50Ms, heldOut }, bounds),
    warnings: [...(made.warnings ?? []), ...(slow ? [slow] : [])],
    heldOut,
    int8Nodes: made.quantized,
    floatNodes: [...made.float].map(([name, reason]) => ({ name, reason })),
    followingNodes: made.following,
    sensitivity: [...made.alone].map(([name, sqnrDb]) => ({ name, sqnrDb })),
    sizeBytes: { float: float.length, int8: made.bytes.length },
    p50Us: { float: p50Ms.float * 1000, int8: p50Ms.quantized * 1000 },
    processor,
  };
}
