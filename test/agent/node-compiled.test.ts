import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const MODULE = join(import.meta.dirname, '../../agent/src/node-compiled.ts');
const NOW = '{ after: (ms, run) => run() }';
let cache: string;
beforeEach(() => {
  cache = mkdtempSync(join(tmpdir(), 'skein-compiled-'));
});
afterEach(() => rmSync(cache, { recursive: true, force: true }));

/** Files that a process leaves which does `work` and is then ended from outside, as by a power cut. */
async function leftBy(work: string): Promise<number> {
  const program = `const { keepCompiled } = await import('${MODULE}'); ${work}; console.log('done'); setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
    env: { PATH: process.env.PATH, NODE_COMPILE_CACHE: cache },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = once(child, 'exit');
  await once(child.stdout, 'data');
  child.kill('SIGKILL');
  expect(await ended).toEqual([null, 'SIGKILL']);
  return readdirSync(cache, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
    .length;
}

describe('compiled code', () => {
  it('is kept by a process that never ends by itself', async () => {
    expect(await leftBy('0')).toBe(0);
    expect(await leftBy(`keepCompiled(${NOW})`)).toBeGreaterThan(0);
  });
});
