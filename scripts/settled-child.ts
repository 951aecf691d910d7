/**
 * Measures in a process with the settings of the package and of an agent that has started: what is measured is what people
 * run. Node as it comes collects garbage with helper threads, and a caller that waits for one of those while every processor
 * is taken waits for the scheduler.
 */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { SETTLED_FLAGS } from '@skein/agent/node-settled.ts';
import { asShipped } from './as-shipped.ts';
import type { Emit, Measurement } from './bench/measurement.ts';

/** @param script prints a measurement a line, as JSON. @throws Error when it does not end with 0 */
export async function measureSettled(script: string, emit: Emit): Promise<void> {
  const { flags, env } = asShipped();
  const child = spawn(process.execPath, [...flags, ...SETTLED_FLAGS, script], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = new Promise<number | null>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', resolve);
  });
  for await (const line of createInterface({ input: child.stdout })) emit(JSON.parse(line) as Measurement);
  const code = await ended;
  if (code !== 0) throw new Error(`the measuring process ended with code ${code}`);
}
