/** A valid bundle without a neural network in it: what publishing checks is bytes and names, not what a model does. */
import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Manifest } from '@skein/protocol/manifest.ts';

export const hashOf = (bytes: Uint8Array | string): string =>
  createHash('sha256').update(bytes).digest('hex');

export interface SmallModel {
  manifest: Manifest;
  manifestBytes: Buffer;
  manifestSha256: string;
  blobs: Map<string, Buffer>;
}

export function smallModel(name = 'gas', version = '1.0.0', change: Partial<Manifest> = {}): SmallModel {
  const model = Buffer.from(`weights of ${name}@${version} `.repeat(4000));
  const golden = Buffer.from(`{"format":1,"vectors":[{"inputs":{},"outputs":{}}]}`);
  const ref = (bytes: Buffer) => ({ sha256: hashOf(bytes), size: bytes.length });
  const manifest: Manifest = {
    format: 1,
    name,
    version,
    description: 'for tests',
    licence: 'Apache-2.0',
    inputs: [{ name: 'x', type: 'float32', shape: [-1, 2] }],
    outputs: [{ name: 'y', type: 'float32', shape: [-1, 1] }],
    preprocess: {
      kind: 'features',
      features: ['a', 'b'],
      window: { size: 1, stride: 1, padding: 'none' },
      onMissing: 'reject',
    },
    postprocess: { kind: 'regress', output: 'y', low: null, high: null },
    variants: [
      { id: 'fp32', precision: 'fp32', backend: 'onnx', file: ref(model), tolerance: 0.001, accuracy: null },
    ],
    golden: ref(golden),
    drift: null,
    needs: { memoryBytes: 1_000_000, tags: [] },
    quantization: null,
    lineage: { trainedFrom: [] },
    ...change,
  };
  const manifestBytes = Buffer.from(JSON.stringify(manifest));
  const blobs = new Map([model, golden].map((bytes) => [hashOf(bytes), bytes]));
  return { manifest, manifestBytes, manifestSha256: hashOf(manifestBytes), blobs };
}

/** As a bundle directory. */
export function writeSmallModel(folder: string, model: SmallModel): string {
  mkdirSync(join(folder, 'blobs'), { recursive: true });
  writeFileSync(join(folder, 'manifest.json'), model.manifestBytes);
  for (const [sha, bytes] of model.blobs) writeFileSync(join(folder, 'blobs', sha), bytes);
  return folder;
}
