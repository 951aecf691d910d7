/** `skein-model quantize`: from a float ONNX file and data to a smaller one, measured. */
import { writeFile } from 'node:fs/promises';
import { readSampleFile } from './disk-samples.ts';
import { openModel, type QuantizeReport, quantize } from './onnx-quantize.ts';
import { readModelFile, sampleWidth, tensorOf } from './run-try.ts';

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
  const [input] = session.inputs;
  await session.close();
  const table = await readSampleFile(options.calibrate, sampleWidth(input!));
  const samples = table.rows.map((row) => tensorOf(input!, row));
  const { bytes, report } = await quantize(model, samples, {
    skip: options.skip,
    reduceRange: options.reduceRange,
    onProgress,
  });
  await writeFile(options.out, bytes);
  return report;
}
