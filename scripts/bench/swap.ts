/**
 * Hot swap while eight clients saturate the model: 200 activations of ever other versions, on the caller's thread and in
 * a worker. Version n multiplies by n, so an answer tells which file computed it. Every request counts, also those that
 * were under way: none may fail, none may carry another version's label. Memory is compared with what the saturated model
 * had after its first swaps, when the runtime is warm, in a process with the settings of the package and of an agent
 * that has started: by default V8's heap and the C library's arenas grow with every load, swaps or not.
 */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { SETTLED_FLAGS } from '@skein/agent/node-settled.ts';
import { asShipped } from './as-shipped.ts';
import type { Emit, Measurement } from './measurement.ts';

const CHILD = join(import.meta.dirname, 'swap/saturate.ts');

export async function run(emit: Emit): Promise<void> {
  const { flags, env } = asShipped();
  const child = spawn(process.execPath, [...flags, ...SETTLED_FLAGS, CHILD], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = new Promise<number | null>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', resolve);
  });
  for await (const line of createInterface({ input: child.stdout })) emit(JSON.parse(line) as Measurement);
  const code = await ended;
  if (code !== 0) throw new Error(`the swapping process ended with code ${code}`);
}
