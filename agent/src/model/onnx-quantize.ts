/**
 * The quantizer's shell: measures ranges with onnxruntime on calibration data, writes the int8 model, and compares it
 * with the float one on data. A method is chosen by its signal-to-noise ratio, never assumed.
 */
import { performance } from 'node:perf_hooks';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Bytes } from '@skein/protocol/units.ts';
import type { Tensors } from '../inference/backend.ts';
import { type OnnxSession, sessionFromBytes } from '../inference/onnx-session.ts';
import { loadGraph, type ModelProto, saveGraph } from './graph.ts';
import { prepareForQuantization } from './graph-passes.ts';
import { writeQuantized } from './quantize.ts';
import { candidates, planQuantization } from './quantize-plan.ts';
import { activationScale, RangeCollector } from './ranges.ts';

export interface QuantizeOptions {
  /** Node names, or their first outputs, that stay in float. */
  skip?: readonly string[];
  /** Share of calibration values kept inside the range; several are tried and the best is taken. */
  keep?: readonly number[];
  /** For processors without VNNI (see WriteOptions.weightLimit). */
  reduceRange?: boolean;
  onProgress?(done: number, total: number, what: string): void;
}

export interface Comparison {
  /** Signal to noise of all outputs together, dB; Infinity when equal. */
  sqnrDb: number;
  /** Share of samples with the same largest output. */
  agreement: number;
  samples: number;
}

export interface QuantizeReport extends Comparison {
  method: string;
  int8Nodes: string[];
  /** Compute nodes left in float, with the reason. */
  floatNodes: { name: string; reason: string }[];
  sizeBytes: { float: Bytes; int8: Bytes };
  p50Us: { float: number; int8: number };
}

/** Columns whose whole variation is below one 8-bit step, beyond which an input counts as raw and unscaled. */
const DROWNED_LIMIT = 0.1;
const KEEP_CHOICES = [1, 0.9999, 0.999];

type Session = Omit<OnnxSession, 'sha256'>;
export const openModel = (bytes: Uint8Array): Promise<Session> =>
  sessionFromBytes(bytes, { path: 'the model', threads: 1, providers: ['cpu'] });

/** Ranges of `names`, seen over all samples: the tensors are made outputs of a copy of the model. */
async function collect(
  model: ModelProto,
  names: ReadonlySet<string>,
  samples: readonly Tensors[],
): Promise<Map<string, RangeCollector>> {
  const inputs = new Set(model.graph.input.map(({ name }) => name));
  const declared = new Set(model.graph.output.map(({ name }) => name));
  const probed = loadGraph(saveGraph(model));
  for (const name of names) {
    if (!inputs.has(name) && !declared.has(name)) probed.graph.output.push({ name });
  }
  const session = await openModel(saveGraph(probed));
  const collectors = new Map([...names].map((name) => [name, new RangeCollector()]));
  try {
    for (const sample of samples) {
      const tensors = { ...sample, ...(await session.run(sample)) };
      for (const [name, collector] of collectors) {
        const { data, dims } = tensors[name]!;
        collector.add(data as Float32Array, dims);
      }
    }
  } finally {
    await session.close();
  }
  return collectors;
}

/** How far `found` is from `expected` over all samples. */
export function compareOutputs(expected: readonly Tensors[], found: readonly Tensors[]): Comparison {
  let signal = 0;
  let noise = 0;
  let agree = 0;
  let rows = 0;
  expected.forEach((tensors, i) => {
    for (const [name, { data, dims }] of Object.entries(tensors)) {
      const a = data as Float32Array;
      const b = found[i]![name]!.data as Float32Array;
      for (let k = 0; k < a.length; k++) {
        signal += a[k]! ** 2;
        noise += (a[k]! - b[k]!) ** 2;
      }
      const width = dims.at(-1) ?? 1;
      for (let row = 0; row < a.length; row += width) {
        rows++;
        if (top(a, row, width) === top(b, row, width)) agree++;
      }
    }
  });
  return {
    sqnrDb: noise === 0 ? Number.POSITIVE_INFINITY : 10 * Math.log10(signal / noise),
    agreement: rows === 0 ? 1 : agree / rows,
    samples: expected.length,
  };
}

function top(values: Float32Array, from: number, width: number): number {
  let best = from;
  for (let i = from + 1; i < from + width; i++) if (values[i]! > values[best]!) best = i;
  return best - from;
}

export async function runAll(bytes: Uint8Array, samples: readonly Tensors[]): Promise<Tensors[]> {
  const session = await openModel(bytes);
  try {
    const outputs: Tensors[] = [];
    for (const sample of samples) outputs.push(await session.run(sample));
    return outputs;
  } finally {
    await session.close();
  }
}

/** Medians of one sample's latency, both models in turn so that a busy machine slows both. */
async function medians(models: readonly Uint8Array[], sample: Tensors, runs = 60): Promise<number[]> {
  const sessions = await Promise.all(models.map(openModel));
  const times = models.map(() => [] as number[]);
  for (let i = 0; i < runs + 5; i++) {
    for (const [m, session] of sessions.entries()) {
      const started = performance.now();
      await session.run(sample);
      if (i >= 5) times[m]!.push((performance.now() - started) * 1000);
    }
  }
  await Promise.all(sessions.map((session) => session.close()));
  return times.map((list) => list.sort((a, b) => a - b)[list.length >> 1]!);
}

/**
 * @param samples calibration inputs, at least one; what is measured in the report is measured on them.
 * @throws SkeinError MODEL_INVALID when the model can not be quantized at all, with the reason
 */
export async function quantize(
  bytes: Uint8Array,
  samples: readonly Tensors[],
  options: QuantizeOptions = {},
): Promise<{ bytes: Uint8Array; report: QuantizeReport }> {
  if (samples.length === 0) throw new SkeinError('MODEL_INVALID', 'calibration needs at least one sample');
  const prepared = loadGraph(bytes);
  prepareForQuantization(prepared);
  const skip = new Set(options.skip);
  const possible = candidates(prepared.graph, skip);
  const floatNodes = [...skip].map((name) => ({ name, reason: 'as asked' }));
  const measured = await collect(prepared, planQuantization(prepared.graph, possible).pairs, samples);
  const usable = possible.filter(({ node, input }) => {
    const collector = measured.get(input)!;
    const drowned = collector.drownedColumns(collector.range(1));
    if (drowned <= DROWNED_LIMIT) return true;
    const share = Math.round(drowned * 100);
    const reason = `${share}% of its input columns vary by less than one 8-bit step: raw, unscaled values`;
    floatNodes.push({ name: node.name || node.output[0]!, reason });
    return false;
  });
  if (usable.length === 0) {
    throw new SkeinError('MODEL_INVALID', 'no node of the model can run in int8', {
      fix: floatNodes[0]?.reason ?? 'Only Conv, Gemm and MatMul with constant weights are quantized.',
    });
  }
  const expected = await runAll(bytes, samples);
  let best: { bytes: Uint8Array; comparison: Comparison; keep: number } | undefined;
  const choices = options.keep ?? KEEP_CHOICES;
  for (const [i, keep] of choices.entries()) {
    options.onProgress?.(i, choices.length, `range that keeps ${keep * 100}% of the values`);
    const written = write(prepared, usable, measured, keep, options.reduceRange ?? false);
    const comparison = compareOutputs(expected, await runAll(written, samples));
    if (!best || comparison.sqnrDb > best.comparison.sqnrDb) best = { bytes: written, comparison, keep };
  }
  const chosen = best!;
  const [float, int8] = await medians([bytes, chosen.bytes], samples[0]!);
  return {
    bytes: chosen.bytes,
    report: {
      ...chosen.comparison,
      method: chosen.keep >= 1 ? 'min-max' : `percentile ${chosen.keep * 100}`,
      int8Nodes: usable.map(({ node }) => node.name || node.output[0]!),
      floatNodes,
      sizeBytes: { float: bytes.length, int8: chosen.bytes.length },
      p50Us: { float: float!, int8: int8! },
    },
  };
}

function write(
  prepared: ModelProto,
  usable: ReturnType<typeof candidates>,
  measured: ReadonlyMap<string, RangeCollector>,
  keep: number,
  reduceRange: boolean,
): Uint8Array {
  const model = loadGraph(saveGraph(prepared));
  const names = new Set(usable.map(({ node }) => node.output[0]!));
  const compute = candidates(model.graph, new Set()).filter(({ node }) => names.has(node.output[0]!));
  const plan = planQuantization(model.graph, compute);
  const scales = new Map(
    [...plan.pairs].map((name) => [name, activationScale(measured.get(name)!.range(keep))]),
  );
  writeQuantized(model, plan, scales, { weightLimit: reduceRange ? 63 : 127 });
  return saveGraph(model);
}
