/** Models as an order would have brought them, for benchmarks: a file with a manifest around it, no rollout needed. */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { floatTensor, floatValue, modelOf, nodeOf, saveGraph } from '@skein/agent/model/graph.ts';
import type { StagedModel } from '@skein/agent/update/ports.ts';
import type { Manifest, TensorSpec } from '@skein/protocol/manifest.ts';

const DATA = join(import.meta.dirname, '../../shared/data/models');

/** A file of ../shared/data, or undefined where that folder is not. */
export const sharedModel = (file: string): Uint8Array | undefined =>
  existsSync(join(DATA, file)) ? readFileSync(join(DATA, file)) : undefined;

export interface StagedOptions {
  name: string;
  version: string;
  inputs: TensorSpec[];
  outputs: TensorSpec[];
}

/** @param directory that the file is written to. */
export function stage(directory: string, bytes: Uint8Array, options: StagedOptions): StagedModel {
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  const modelPath = join(directory, sha256);
  writeFileSync(modelPath, bytes);
  const file = { sha256, size: bytes.length };
  const common = { backend: 'onnxruntime', tolerance: 0, accuracy: null };
  const variant = { id: 'fp32', precision: 'fp32' as const, file, ...common };
  const { shape } = options.inputs[0]!;
  const width = shape.at(-1)!;
  const rows = shape.slice(0, -1).reduce((product, dim) => product * Math.max(1, dim), 1);
  const manifest: Manifest = {
    format: 1,
    ...options,
    description: '',
    licence: 'Apache-2.0',
    preprocess: {
      kind: 'features',
      features: Array.from({ length: width }, (_, i) => `f${i}`),
      window: { size: rows, stride: 1, padding: 'none' },
      onMissing: 'reject',
    },
    postprocess: { kind: 'raw', output: options.outputs[0]!.name },
    variants: [variant],
    golden: file,
    drift: null,
    needs: { memoryBytes: 0, tags: [] },
    quantization: null,
    lineage: { trainedFrom: [] },
  };
  return { manifest, manifestSha256: sha256, variant, modelPath, goldenPath: modelPath };
}

/** y = x · factor · W₁ · … · Wₙ with W = 1/size: x of equal values stays as it is but for the factor. [rows, size]. */
export function heavyModel(size: number, layers: number, rows: number, factor = 1): Uint8Array {
  const weights = Array.from({ length: layers }, (_, i) =>
    floatTensor(`w${i}`, [size, size], new Float32Array(size * size).fill((i === 0 ? factor : 1) / size)),
  );
  const names = ['x', ...weights.map(({ name }) => `y${name}`)];
  names[layers] = 'y';
  return saveGraph(
    modelOf({
      name: 'heavy',
      node: weights.map(({ name }, i) => nodeOf('MatMul', [names[i]!, name!], [names[i + 1]!])),
      initializer: weights,
      input: [floatValue('x', [rows, size])],
      output: [floatValue('y', [rows, size])],
      valueInfo: [],
    }),
  );
}
