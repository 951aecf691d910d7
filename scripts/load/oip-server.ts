/** The agent's engine and local API with one model and nothing else: `oip-server.ts MODEL inline|worker` */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { openLocalApi } from '@skein/agent/api/http-local-api.ts';
import { Engine } from '@skein/agent/inference/engine.ts';
import { OnnxBackend } from '@skein/agent/inference/onnx-backend.ts';
import { settleLater } from '@skein/agent/node-settled.ts';
import { systemClock } from '@skein/agent/system-clock.ts';
import type { Manifest } from '@skein/protocol/manifest.ts';

const [path, placement] = process.argv.slice(2) as [string, 'inline' | 'worker'];
const bytes = readFileSync(path);
const file = { sha256: createHash('sha256').update(bytes).digest('hex'), size: bytes.length };
const manifest: Manifest = {
  format: 1,
  name: 'gas',
  version: '1.0.0',
  description: '',
  licence: 'CC-BY-4.0',
  inputs: [{ name: 'x', type: 'float32', shape: [-1, 128] }],
  outputs: [{ name: 'prob', type: 'float32', shape: [-1, 6] }],
  preprocess: {
    kind: 'features',
    features: Array.from({ length: 128 }, (_, i) => `x${i + 1}`),
    window: { size: 1, stride: 1, padding: 'none' },
    onMissing: 'reject',
  },
  postprocess: { kind: 'classify', output: 'prob', softmax: false, labels: [...'abcdef'], alarmLabels: [] },
  variants: [
    { id: 'fp32', precision: 'fp32', backend: 'onnxruntime', file, tolerance: 1e-4, accuracy: null },
  ],
  golden: file,
  drift: null,
  needs: { memoryBytes: 0, tags: [] },
  quantization: null,
  lineage: { trainedFrom: [] },
};
const engine = new Engine({ backend: new OnnxBackend({ placement }), clock: systemClock });
const [variant] = manifest.variants as [Manifest['variants'][number]];
await engine.activate({ manifest, manifestSha256: file.sha256, variant, modelPath: path, goldenPath: path });
const models = {
  version: '0.0.0',
  ready: () => true,
  current: (name: string) => engine.current(name),
  all: () => engine.models(),
  modelReady: () => true,
  statistics: (name: string) => engine.statistics(name),
  predict: engine.predict.bind(engine),
};
const status = () => {
  throw new Error('there is no agent around this engine');
};
const { url } = await openLocalApi({ models, status }, { host: '127.0.0.1', port: 0 });
settleLater(systemClock);
process.stdout.write(`${JSON.stringify({ ready: true, port: Number(new URL(url).port) })}\n`);
process.on('SIGTERM', () => process.exit(0));
