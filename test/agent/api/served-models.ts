/** A real engine with small real models, as the local API serves them. */
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { OipModels } from '@skein/agent/api/oip-models.ts';
import { Engine, type EngineOptions } from '@skein/agent/inference/engine.ts';
import { OnnxBackend } from '@skein/agent/inference/onnx-backend.ts';
import { ELEMENT_TYPES } from '@skein/agent/inference/tensors.ts';
import { modelOf, nodeOf, saveGraph } from '@skein/agent/model/graph.ts';
import type { NodeProto } from '@skein/agent/model/graph-schema.ts';
import { DATA_TYPE, floatTensor, valueInfo } from '@skein/agent/model/graph-tensors.ts';
import { systemClock } from '@skein/agent/system-clock.ts';
import type { StagedModel } from '@skein/agent/update/ports.ts';
import type { Manifest, TensorSpec } from '@skein/protocol/manifest.ts';

const ELEMENT: Record<TensorSpec['type'], number> = {
  ...DATA_TYPE,
  float32: DATA_TYPE.float,
  float64: DATA_TYPE.double,
};

interface Graph {
  inputs: TensorSpec[];
  outputs: TensorSpec[];
  nodes: NodeProto[];
  weights?: Parameters<typeof floatTensor>[];
}

const declared = ({ name, type, shape }: TensorSpec) => valueInfo(name, ELEMENT[type], shape);

const bytesOf = ({ inputs, outputs, nodes, weights = [] }: Graph): Uint8Array =>
  saveGraph(
    modelOf({
      ...{ name: 'served', node: nodes, valueInfo: [] },
      initializer: weights.map((weight) => floatTensor(...weight)),
      input: inputs.map(declared),
      output: outputs.map(declared),
    }),
  );

const tensors = (names: string[], type: TensorSpec['type'], shape: number[]): TensorSpec[] =>
  names.map((name) => ({ name, type, shape }));

const WIDTH = 512;
const STEPS = 48;

function echoOf(types: readonly TensorSpec['type'][]): Graph {
  const named = (suffix: string) =>
    types.map((type): TensorSpec => ({ name: type + suffix, type, shape: [-1, 3] }));
  const nodes = types.map((type) => nodeOf('Identity', [type], [`${type}_out`]));
  return { inputs: named(''), outputs: named('_out'), nodes };
}

const GRAPHS: Record<string, Graph> = {
  /** The one that Triton's examples expect. */
  simple: {
    inputs: tensors(['INPUT0', 'INPUT1'], 'int32', [-1, 16]),
    outputs: tensors(['OUTPUT0', 'OUTPUT1'], 'int32', [-1, 16]),
    nodes: [
      nodeOf('Add', ['INPUT0', 'INPUT1'], ['OUTPUT0']),
      nodeOf('Sub', ['INPUT0', 'INPUT1'], ['OUTPUT1']),
    ],
  },
  /** Gives back what it gets, of every type; echo-TYPE of one. */
  echo: echoOf(ELEMENT_TYPES),
  ...Object.fromEntries(ELEMENT_TYPES.map((type) => [`echo-${type}`, echoOf([type])])),
  /** Little to send, much to compute: some 50 ms for 64 rows. */
  slow: {
    inputs: tensors(['x'], 'float32', [-1, WIDTH]),
    outputs: tensors(['y'], 'float32', [-1, 1]),
    nodes: [
      ...Array.from({ length: STEPS }, (_, i) =>
        nodeOf('MatMul', [i === 0 ? 'x' : `x${i}`, 'w'], [`x${i + 1}`]),
      ),
      nodeOf('MatMul', [`x${STEPS}`, 'column'], ['y']),
    ],
    weights: [
      ['w', [WIDTH, WIDTH], new Float32Array(WIDTH * WIDTH).fill(1 / WIDTH)],
      ['column', [WIDTH, 1], new Float32Array(WIDTH).fill(1 / WIDTH)],
    ],
  },
};

function staged(dir: string, name: string, version: string): StagedModel {
  const graph = GRAPHS[name]!;
  const bytes = bytesOf(graph);
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  const modelPath = join(dir, sha256);
  writeFileSync(modelPath, bytes);
  const variant = {
    ...{ id: 'fp32', precision: 'fp32' as const, backend: 'onnxruntime', tolerance: 0, accuracy: null },
    file: { sha256, size: bytes.length },
  };
  const manifest: Manifest = {
    ...{ format: 1, name, version, description: '', licence: 'Apache-2.0', drift: null, quantization: null },
    ...{ inputs: graph.inputs, outputs: graph.outputs, variants: [variant], golden: variant.file },
    preprocess: { kind: 'tensor' },
    postprocess: { kind: 'raw', output: graph.outputs[0]!.name },
    needs: { memoryBytes: 0, tags: [] },
    lineage: { trainedFrom: [] },
  } as Manifest;
  return { manifest, manifestSha256: sha256, variant, modelPath, goldenPath: modelPath };
}

export interface Served {
  engine: Engine;
  models: OipModels;
  /** What the golden answers would say. */
  ready: boolean;
  activate(name: string): Promise<void>;
  close(): Promise<void>;
}

export async function serveModels(
  names: readonly string[],
  options: Partial<EngineOptions> = {},
): Promise<Served> {
  const dir = mkdtempSync(join(tmpdir(), 'skein-served-'));
  const backend = new OnnxBackend({ placement: 'worker' });
  const engine = new Engine({ backend, clock: systemClock, ...options });
  const activate = async (name: string): Promise<void> =>
    void (await engine.activate(staged(dir, name, '1.0.0')));
  for (const name of names) await activate(name);
  const served: Served = {
    engine,
    ready: true,
    activate,
    models: {
      version: '0.1.0',
      ready: () => served.ready,
      all: () => engine.models(),
      current: (name) => engine.current(name),
      modelReady: (name) => served.ready && engine.current(name) !== undefined,
      statistics: (name) => engine.statistics(name),
      predict: (name, inputs, options) => engine.predict(name, inputs, { ...options, priority: 'api' }),
    },
    async close() {
      await engine.close();
      rmSync(dir, { recursive: true, force: true });
    },
  };
  return served;
}
