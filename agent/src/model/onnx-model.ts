/** ONNX models in memory, opened with onnxruntime on one thread: run, compare, time; and the types that it infers. */
import { performance } from 'node:perf_hooks';
import type { Millis } from '@skein/protocol/units.ts';
import type { Tensors } from '../inference/backend.ts';
import { createSession } from '../inference/onnx-runtime.ts';
import { type OnnxSession, sessionFromBytes } from '../inference/onnx-session.ts';
import type { LabelledSample } from './calibration-data.ts';
import { Comparer, type Comparison, top } from './compare-outputs.ts';
import { loadGraph, type ModelProto, saveGraph } from './graph.ts';
import type { Accuracy } from './judge-quantized.ts';

export type Session = Omit<OnnxSession, 'sha256'>;
/** @throws SkeinError MODEL_INVALID */
export const openModel = (bytes: Uint8Array): Promise<Session> =>
  sessionFromBytes(bytes, { path: 'the model', threads: 1, providers: ['cpu'] });

export async function withModel<T>(bytes: Uint8Array, use: (session: Session) => Promise<T>): Promise<T> {
  const session = await openModel(bytes);
  try {
    return await use(session);
  } finally {
    await session.close();
  }
}

export const runAll = (bytes: Uint8Array, samples: readonly Tensors[]): Promise<Tensors[]> =>
  withModel(bytes, async (session) => {
    const outputs: Tensors[] = [];
    for (const sample of samples) outputs.push(await session.run(sample));
    return outputs;
  });

/** Outputs of the candidate beside those that are expected, one sample in memory at a time. */
export const compareWith = (
  expected: readonly Tensors[],
  bytes: Uint8Array,
  samples: readonly Tensors[],
): Promise<Comparison> =>
  withModel(bytes, async (session) => {
    const comparer = new Comparer();
    for (const [i, sample] of samples.entries()) comparer.add(expected[i]!, await session.run(sample));
    return comparer.result();
  });

/** First output of which a class can be told; labels are counted in it. */
const classIn = (outputs: Tensors): number | undefined => {
  const scores = Object.values(outputs).find(
    ({ data, dims }) => data instanceof Float32Array && (dims.at(-1) ?? 1) > 1,
  );
  return scores && top(scores.data as Float32Array, 0, scores.dims.at(-1)!);
};

/** Both models on the same samples, side by side. */
export const evaluate = (
  float: Uint8Array,
  quantized: Uint8Array,
  samples: readonly LabelledSample[],
): Promise<Comparison & { accuracy: Accuracy | null }> =>
  withModel(float, (reference) =>
    withModel(quantized, async (candidate) => {
      const comparer = new Comparer();
      const right = { float: 0, quantized: 0 };
      let labelled = 0;
      for (const { input, label } of samples) {
        const [expected, found] = [await reference.run(input), await candidate.run(input)];
        comparer.add(expected, found);
        if (label === undefined) continue;
        labelled++;
        if (classIn(expected) === label) right.float++;
        if (classIn(found) === label) right.quantized++;
      }
      const accuracy = labelled
        ? { float: right.float / labelled, quantized: right.quantized / labelled }
        : null;
      return { ...comparer.result(), accuracy };
    }),
  );

const WARM_UP = 5;
const MOST_ROUNDS = 600;
const LEAST_ROUNDS = 30;

/** Medians of one sample's latency, all models in turns so that a busy machine slows all. */
export async function medians(
  models: readonly Uint8Array[],
  sample: Tensors,
  budgetMs: Millis = 1_500,
): Promise<Millis[]> {
  const sessions = await Promise.all(models.map(openModel));
  const times = models.map(() => [] as number[]);
  try {
    const end = performance.now() + budgetMs;
    for (let i = 0; i < MOST_ROUNDS + WARM_UP; i++) {
      if (i >= LEAST_ROUNDS + WARM_UP && performance.now() > end) break;
      for (const [m, session] of sessions.entries()) {
        const started = performance.now();
        await session.run(sample);
        if (i >= WARM_UP) times[m]!.push(performance.now() - started);
      }
    }
  } finally {
    await Promise.all(sessions.map((session) => session.close()));
  }
  return times.map((list) => list.sort((a, b) => a - b)[list.length >> 1]!);
}

export interface InferredType {
  /** As onnxruntime names it: float32, int64, … */
  type: string;
  /** −1: free. */
  shape: number[];
}

/** Type and shape of every tensor that a node makes and of the inputs, as onnxruntime infers them; sequences are left out. */
export async function inferTypes(model: ModelProto): Promise<Map<string, InferredType>> {
  const probed = loadGraph(saveGraph(model));
  const declared = new Set(probed.graph.output.map(({ name }) => name));
  for (const node of model.graph.node) {
    for (const name of node.output) if (name && !declared.has(name)) probed.graph.output.push({ name });
  }
  const session = await createSession(saveGraph(probed), {
    graphOptimizationLevel: 'disabled',
    intraOpNumThreads: 1,
    logSeverityLevel: 4,
  });
  const known = [...session.inputMetadata, ...session.outputMetadata].flatMap((meta) =>
    meta.isTensor
      ? [
          [
            meta.name,
            { type: meta.type, shape: meta.shape.map((d) => (typeof d === 'number' ? d : -1)) },
          ] as const,
        ]
      : [],
  );
  await session.release();
  return new Map(known);
}
