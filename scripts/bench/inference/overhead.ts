/** From a reading to its prediction with the host model on the caller's thread, less onnxruntime's own `session.run`. */
import { join } from 'node:path';
import { Engine } from '@skein/agent/inference/engine.ts';
import { OnnxBackend } from '@skein/agent/inference/onnx-backend.ts';
import { readBundle } from '@skein/agent/model/disk-bundle.ts';
import { inputTensors } from '@skein/agent/pipeline/preprocess.ts';
import { createPipeline } from '@skein/agent/pipeline/run-pipeline.ts';
import { systemClock } from '@skein/agent/system-clock.ts';
import { featurePreprocess } from '@skein/protocol/manifest-pipeline.ts';
import { rawSession } from '../../raw-session.ts';
import { inTurns, median } from '../../timing.ts';
import { readRecording } from '../../train/recording.ts';
import type { Emit } from '../measurement.ts';

const HOST = join(import.meta.dirname, '../../../models/host');
const READINGS = 2_000;

export async function hostModel() {
  const bundlePath = join(HOST, 'bundle');
  const { manifest, manifestSha256, blobs } = await readBundle(bundlePath);
  const variant = manifest.variants[0]!;
  const pathOf = (sha: string) => join(bundlePath, 'blobs', sha);
  const staged = {
    manifest,
    manifestSha256,
    variant,
    modelPath: pathOf(variant.file.sha256),
    goldenPath: pathOf(manifest.golden.sha256),
  };
  return { staged, bytes: blobs.get(variant.file.sha256)! };
}

const readings = (features: readonly string[]) =>
  readRecording(join(HOST, 'recording.csv.gz'))
    .flat()
    .slice(0, READINGS)
    .map((row, i) => ({
      ts: i,
      mono: i,
      source: 'host',
      values: Object.fromEntries(features.map((name, c) => [name, row[c]!])),
    }));

export async function overhead(emit: Emit): Promise<void> {
  const { staged, bytes } = await hostModel();
  const { manifest } = staged;
  const { features, window } = featurePreprocess(manifest.preprocess);
  const engine = new Engine({ backend: new OnnxBackend({ placement: 'inline' }), clock: systemClock });
  await engine.activate(staged);
  let predictions = 0;
  const pipeline = createPipeline({
    engine,
    model: manifest.name,
    boot: 'bench',
    onPrediction: () => predictions++,
    onDrift: () => undefined,
    onProblem: ({ message }) => {
      throw new Error(message);
    },
  });
  const raw = await rawSession(
    bytes,
    inputTensors(manifest, new Float32Array(window.size * features.length)),
  );
  const rows = readings(features);
  let next = 0;
  const turns = [() => pipeline.reading(rows[next++ % rows.length]!), raw.run];
  const [whole, alone] = (await inTurns(turns, 10 * READINGS)).map(median);
  await Promise.all([raw.close(), engine.close()]);
  const limit = features.length + 20;
  const said = { bench: 'inference', unit: 'µs' };
  emit({ ...said, metric: 'raw session.run, host model', value: alone!, bar: null, holds: null });
  emit({
    ...said,
    metric: 'pipeline beyond the raw run',
    value: whole! - alone!,
    bar: `≤ ${limit} µs (1 a feature + 20)`,
    holds: whole! - alone! <= limit,
  });
  emit({ ...said, metric: 'predictions made', unit: '', value: predictions, bar: null, holds: null });
}
