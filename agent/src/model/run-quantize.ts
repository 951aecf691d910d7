/** `skein-model quantize`: from a float ONNX file and data to a smaller one, measured. */
import { writeFile } from 'node:fs/promises';
import { readFed } from './data/disk-fed.ts';
import { readModelFile } from './disk-model.ts';
import { openModel, type QuantizeReport, quantize } from './onnx-quantize.ts';

export interface QuantizeCommand {
  calibrate: string;
  out: string;
  skip: string[];
  reduceRange: boolean;
}

export async function runQuantize(
  path: string,
  options: QuantizeCommand,
  onProgress: (done: number, total: number, what: string) => void,
): Promise<QuantizeReport> {
  const model = await readModelFile(path);
  const session = await openModel(model);
  await session.close();
  const { samples } = await readFed(options.calibrate, session.inputs);
  const inputs = samples.map((sample) => sample.inputs);
  const { bytes, report } = await quantize(model, inputs, {
    skip: options.skip,
    reduceRange: options.reduceRange,
    onProgress,
  });
  await writeFile(options.out, bytes);
  return report;
}
