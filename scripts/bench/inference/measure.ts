/** Prints the measurements of `../inference.ts`, a line of JSON each. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sharedModel, stage } from '../../staged-models.ts';
import type { Emit } from '../measurement.ts';
import { endToEnd, hop } from './hop.ts';
import { loop } from './loop.ts';
import { hostModel, overhead } from './overhead.ts';

const RESNET = {
  name: 'resnet8',
  version: '1.0.0',
  inputs: [{ name: 'input', type: 'float32' as const, shape: [-1, 32, 32, 3] }],
  outputs: [{ name: 'dense_out_sm', type: 'float32' as const, shape: [-1, 10] }],
};

const emit: Emit = (measurement) => void process.stdout.write(`${JSON.stringify(measurement)}\n`);
const directory = mkdtempSync(join(tmpdir(), 'skein-bench-'));
try {
  await overhead(emit);
  const { staged } = await hostModel();
  await hop(emit, staged);
  const resnet = sharedModel('resnet8-cifar.onnx');
  if (resnet) await endToEnd(emit, stage(directory, resnet, RESNET), resnet);
  else process.stderr.write('resnet8 is skipped: ../shared/data is not there\n');
  await loop(emit, directory);
} finally {
  rmSync(directory, { recursive: true, force: true });
}
