/**
 * What a model alone holds in memory: a process that loads it, runs it for a while and says so. One request as JSON
 * on standard input, one line of JSON as the answer.
 */
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { benchInputs } from './bench-inputs.ts';
import { openModel } from './onnx-quantize.ts';

interface MemoryRequest {
  path: string;
  batch: number;
  runs: number;
}

const status = (key: string): number => {
  const found = new RegExp(`^${key}:\\s+(\\d+) kB$`, 'm').exec(readFileSync('/proc/self/status', 'utf8'));
  return Number(found?.[1] ?? 0) * 1024;
};

const request = JSON.parse(readFileSync(0, 'utf8')) as MemoryRequest;
const before = status('VmRSS');
const session = await openModel(new Uint8Array(await readFile(request.path)));
const inputs = benchInputs(session.inputs, request.batch);
for (let i = 0; i < request.runs; i++) await session.run(inputs);
const answer = { beforeBytes: before, rssBytes: status('VmRSS'), peakBytes: status('VmHWM') };
console.log(JSON.stringify(answer));
