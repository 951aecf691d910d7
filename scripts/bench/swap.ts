/**
 * Hot swap while eight clients saturate the model: 200 activations of ever other versions, on the caller's thread and in
 * a worker. Version n multiplies by n, so an answer tells which file computed it. Every request counts, also those that
 * were under way: none may fail, none may carry another version's label. Memory is compared with what the saturated model
 * had after its first swaps, when the runtime is warm, in a process with the settings that the package starts the agent
 * with: by default V8's young generation and the C library's arenas grow with every load, swaps or not.
 */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Emit, Measurement } from './measurement.ts';

const LAUNCHER = join(import.meta.dirname, '../../agent/package/skein-agent');
const CHILD = join(import.meta.dirname, 'swap/saturate.ts');

/** Options of Node and environment, read from the package's own launcher. */
function shipped() {
  const text = readFileSync(LAUNCHER, 'utf8');
  const command = text.slice(text.indexOf('exec '));
  const options = [...command.matchAll(/\s(--[a-z-]+(?:=\S+)?)/g)].map(([, option]) => option!);
  const exported = [...text.matchAll(/^export ([A-Z_]+)=(\S+)$/gm)].map(([, name, value]) => [name!, value!]);
  return { options, env: { ...process.env, ...Object.fromEntries(exported) } };
}

export async function run(emit: Emit): Promise<void> {
  const { options, env } = shipped();
  const child = spawn(process.execPath, [...options, CHILD], { env, stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = new Promise<number | null>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', resolve);
  });
  for await (const line of createInterface({ input: child.stdout })) emit(JSON.parse(line) as Measurement);
  const code = await ended;
  if (code !== 0) throw new Error(`the swapping process ended with code ${code}`);
}
