/** A manifest around two blobs: y = f(x), two features, one variant. */
import { type BlobRef, type Manifest, parseManifest } from '@skein/protocol/manifest.ts';

export const manifestFor = (version: string, file: BlobRef, golden: BlobRef): Manifest =>
  parseManifest.check(
    {
      format: 1,
      name: 'host',
      version,
      description: 'made for a test',
      licence: 'Apache-2.0',
      inputs: [{ name: 'x', type: 'float32', shape: [-1, 2] }],
      outputs: [{ name: 'y', type: 'float32', shape: [-1, 2] }],
      preprocess: {
        kind: 'features',
        features: ['a', 'b'],
        window: { size: 1, stride: 1, padding: 'edge' },
        onMissing: 'reject',
      },
      postprocess: { kind: 'reconstruction', output: 'y', unit: 1, threshold: 1 },
      variants: [{ id: 'fp32', precision: 'fp32', backend: 'onnx', file, tolerance: 1e-3, accuracy: null }],
      golden,
      drift: null,
      needs: { memoryBytes: 0, tags: [] },
      quantization: null,
      lineage: { trainedFrom: [] },
    },
    version,
  );
