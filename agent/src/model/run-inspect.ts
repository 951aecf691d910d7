/** `skein-model inspect`, `verify` and `bench`: what a model is, whether a bundle holds, and what it costs. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { asSkeinError } from '@skein/protocol/errors.ts';
import type { Millis } from '@skein/protocol/units.ts';
import type { Tensors } from '../inference/backend.ts';
import { OnnxBackend } from '../inference/onnx-backend.ts';
import { zeroInputs } from '../inference/tensors.ts';
import { goldenOf, hashOf } from './bundle.ts';
import { readBundle } from './disk-bundle.ts';
import { readAnyModel } from './disk-model.ts';
import { goldenDifference, goldenInputs } from './golden.ts';
import { dataTypeName, dimsOf, loadGraph, opsetOf, toNumber } from './graph.ts';
import { openModel } from './onnx-quantize.ts';

export interface Inspection {
  sizeBytes: number;
  opset: number;
  ir: number;
  producer: string;
  inputs: string[];
  outputs: string[];
  operators: Record<string, number>;
  parameters: number;
  weights: Record<string, number>;
  quantized: string;
  problems: string[];
}

const specText = ({ name, type, shape }: { name: string; type: string; shape: readonly number[] }): string =>
  `${name}: ${type}[${shape.map((dim) => (dim < 0 ? '?' : dim)).join(', ')}]`;

const tally = (names: readonly string[]): Record<string, number> => {
  const counts: Record<string, number> = {};
  for (const name of names) counts[name] = (counts[name] ?? 0) + 1;
  return Object.fromEntries(Object.entries(counts).sort(([, a], [, b]) => b - a));
};

export async function runInspect(path: string): Promise<Inspection> {
  const bytes = await readAnyModel(path);
  const model = loadGraph(bytes);
  const { node, initializer } = model.graph;
  const operators = tally(node.map(({ opType }) => opType));
  const problems: string[] = [];
  const session = await openModel(bytes).catch((error: unknown) => {
    problems.push(asSkeinError(error).message);
    return undefined;
  });
  const opset = opsetOf(model);
  if (opset < 13)
    problems.push(`opset ${opset}: per-channel int8 needs 13 (quantize raises it where nothing changed)`);
  const weights: Record<string, number> = {};
  for (const tensor of initializer) {
    const count = dimsOf(tensor).reduce((product, dim) => product * dim, 1);
    const type = dataTypeName(tensor.dataType);
    weights[type] = (weights[type] ?? 0) + count;
  }
  const inspection = {
    sizeBytes: bytes.length,
    opset,
    ir: toNumber(model.irVersion),
    producer: [model.producerName, model.producerVersion].filter(Boolean).join(' '),
    inputs: session?.inputs.map(specText) ?? [],
    outputs: session?.outputs.map(specText) ?? [],
    operators,
    parameters: Object.values(weights).reduce((sum, count) => sum + count, 0),
    weights,
    quantized: operators.QuantizeLinear
      ? 'QDQ'
      : operators.QLinearConv || operators.MatMulInteger
        ? 'operators'
        : 'no',
    problems,
  };
  await session?.close();
  return inspection;
}

export interface VariantVerdict {
  variant: string;
  golden: string;
  largestDifference: number;
  tolerance: number;
  ok: boolean;
}

/** Hashes were checked when the bundle was read; here every variant must reproduce the golden vectors. */
export async function runVerify(path: string): Promise<VariantVerdict[]> {
  const bundle = await readBundle(path);
  const golden = goldenOf(bundle);
  const verdicts: VariantVerdict[] = [];
  for (const variant of bundle.manifest.variants) {
    const session = await openModel(bundle.blobs.get(variant.file.sha256)!);
    const differences: number[] = [];
    for (const vector of golden.vectors) {
      const outputs = await session.run(goldenInputs(vector, session.inputs));
      differences.push(goldenDifference(vector, outputs));
    }
    await session.close();
    const passed = differences.filter((difference) => difference <= variant.tolerance).length;
    verdicts.push({
      variant: variant.id,
      golden: `${passed}/${differences.length}`,
      largestDifference: Math.max(...differences),
      tolerance: variant.tolerance,
      ok: passed === differences.length,
    });
  }
  return verdicts;
}

export interface BenchRow {
  way: string;
  p50Us: number;
  p95Us: number;
  p99Us: number;
  perSecond: number;
}

async function measure(way: string, run: () => Promise<unknown>, durationMs: Millis): Promise<BenchRow> {
  for (let i = 0; i < 10; i++) await run();
  const times: number[] = [];
  const end = performance.now() + durationMs;
  while (performance.now() < end) {
    const started = performance.now();
    await run();
    times.push((performance.now() - started) * 1000);
  }
  const total = times.reduce((sum, time) => sum + time, 0);
  const sorted = times.toSorted((a, b) => a - b);
  const at = (q: number) => sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))]!;
  return { way, p50Us: at(0.5), p95Us: at(0.95), p99Us: at(0.99), perSecond: (times.length / total) * 1e6 };
}

/** Raw `session.run`, inline and worker, one after another in one process on inputs of zeros. */
export async function runBench(path: string, durationMs: Millis, threads: number): Promise<BenchRow[]> {
  const bytes = await readAnyModel(path);
  const raw = await openModel(bytes);
  const inputs: Tensors = zeroInputs(raw.inputs);
  const rows = [await measure('raw session.run', () => raw.run(inputs), durationMs)];
  await raw.close();
  const directory = await mkdtemp(join(tmpdir(), 'skein-bench-'));
  const file = join(directory, 'model.onnx');
  try {
    await writeFile(file, bytes);
    for (const placement of ['inline', 'worker'] as const) {
      const model = await new OnnxBackend({ placement }).load({
        path: file,
        sha256: hashOf(bytes),
        sizeBytes: bytes.length,
        threads,
        providers: ['cpu'],
        backend: 'onnxruntime',
      });
      rows.push(await measure(placement, () => model.infer(inputs), durationMs));
      await model.close();
    }
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
  return rows;
}
