/** A look through a whole database that takes seconds on a card: beside everything else. */
import { Worker } from 'node:worker_threads';

export interface FileCheck {
  /** SQLite's quick_check: `ok`, or the first thing that is wrong. Rejects when the file cannot be read, or by `cancel`. */
  verdict: Promise<string>;
  cancel(): void;
}

const PROGRAM = new URL('./sqlite-check-worker.ts', import.meta.url);

export function checkFile(path: string): FileCheck {
  const worker = new Worker(PROGRAM, { workerData: path });
  worker.unref();
  const verdict = new Promise<string>((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
    worker.once('exit', () => reject(new Error('the check was ended')));
  });
  return { verdict, cancel: () => void worker.terminate() };
}
