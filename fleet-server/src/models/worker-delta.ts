/** Makes one patch in a thread of its own, which ends with it: half a minute of work for a large model. */
import { Worker } from 'node:worker_threads';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { DeltaAnswer, DeltaJob } from './delta-child.ts';
import type { MakeDelta } from './run-deltas.ts';

/** What the thread may take beside the two files, in MiB. */
const HEAP_MB = 256;

export const makeDeltaInWorker: MakeDelta = (old, now, signal) =>
  new Promise((resolve, reject) => {
    const worker = new Worker(new URL('./delta-child.ts', import.meta.url), {
      workerData: { old, now } satisfies DeltaJob,
      transferList: [old.buffer, now.buffer],
      resourceLimits: { maxOldGenerationSizeMb: HEAP_MB },
    });
    const stop = () => void worker.terminate();
    signal.addEventListener('abort', stop, { once: true });
    worker.once('message', (answer: DeltaAnswer) => resolve(answer ?? undefined));
    worker.once('error', reject);
    worker.once('exit', () => {
      signal.removeEventListener('abort', stop);
      reject(new SkeinError('INTERNAL', 'the thread that makes a patch ended without one'));
    });
  });
