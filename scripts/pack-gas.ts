/**
 * The gas sensor model of ../shared/data as a bundle: a second model on real recorded input, with a drift that is
 * really there (the months move on with the batch number). Used by flow tests and demonstrations.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readTable } from '@skein/agent/model/data/disk-fed.ts';
import { writeBundle } from '@skein/agent/model/disk-bundle.ts';
import { type PackReport, packModel } from '@skein/agent/model/onnx-pack.ts';

/** In the order of the model's output: class − 1. */
export const GASES = ['ethanol', 'ethylene', 'ammonia', 'acetaldehyde', 'acetone', 'toluene'];

/** One month's recording in its own order. */
export const readGasBatch = (dataDir: string, batch: number) =>
  readTable(join(dataDir, `gas/batch${batch}.dat.gz`));

export const hasGasData = (dataDir: string): boolean => existsSync(join(dataDir, 'models/gas-v1.onnx'));

/**
 * @param dataDir the data folder. @param outDir the bundle's directory.
 * @param release which of the two trained models; 2 was trained on five batches.
 */
export async function packGas(dataDir: string, outDir: string, release: 1 | 2 = 1): Promise<PackReport> {
  const batches = release === 1 ? [1, 2] : [1, 2, 3, 4, 5];
  const tables = await Promise.all(batches.map((batch) => readGasBatch(dataDir, batch)));
  const { bundle, report } = await packModel({
    name: 'gas',
    version: `${release}.0.0`,
    description: 'Which of six gases sixteen metal-oxide sensors smell',
    licence: 'CC-BY-4.0',
    model: new Uint8Array(readFileSync(join(dataDir, `models/gas-v${release}.onnx`))),
    preprocess: {
      kind: 'features',
      features: [...tables[0]!.columns!],
      window: { size: 1, stride: 1, padding: 'none' },
      onMissing: 'reject',
    },
    postprocess: { kind: 'classify', output: 'prob', softmax: false, labels: GASES, alarmLabels: [] },
    recording: tables.map(({ rows }) => rows),
    truth: tables.flatMap(({ truth }) => truth ?? []),
    int8: {},
    order: ['int8'],
    drift: { window: 100, readingsPerSecond: 1 },
    trainedFrom: batches.map((batch) => `UCI gas sensor array drift, batch ${batch}`),
  });
  await writeBundle(bundle, outDir);
  return report;
}
