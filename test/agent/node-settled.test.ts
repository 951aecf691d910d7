import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SETTLED_FLAGS } from '@skein/agent/node-settled.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const MODULE = join(import.meta.dirname, '../../agent/src/node-settled.ts');
const NOW = '{ after: (ms, run) => run() }';
let cache: string;
beforeEach(() => {
  cache = mkdtempSync(join(tmpdir(), 'skein-compiled-'));
});
afterEach(() => rmSync(cache, { recursive: true, force: true }));

/** Files that a process leaves which does `work` and is then ended from outside, as by a power cut. */
async function leftBy(work: string): Promise<number> {
  const program = `const { settleLater } = await import('${MODULE}'); ${work}; console.log('done'); setInterval(() => {}, 1000);`;
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

/** MB that the heap had at most while objects came and went, a hundred thousand of them in use. */
function heapOf(before: string): number {
  const program = `
    ${before}
    const kept = Array.from({ length: 100_000 }, (_, i) => ({ i, text: 'x' + i }));
    let most = 0;
    for (let i = 0; i < 8_000_000; i++) {
      kept[i % kept.length] = { i, text: 'x' + i };
      if (i % 100_000 === 0) most = Math.max(most, process.memoryUsage().heapTotal / 1e6);
    }
    console.log(most);`;
  const flags = ['--max-semi-space-size=1', '--max-old-space-size=4096', '--input-type=module'];
  return Number(execFileSync(process.execPath, [...flags, '-e', program], { encoding: 'utf8' }));
}

describe('the heap of an agent that has started', () => {
  it('does not grow far beyond what is in use, however much memory there is', () => {
    const settled = heapOf(`(await import('${MODULE}')).settle();`);
    expect(settled).toBeLessThan(0.7 * heapOf(''));
  });
});

describe('compiled code', () => {
  it('is kept by a process that never ends by itself', async () => {
    expect(await leftBy('0')).toBe(0);
    expect(await leftBy(`settleLater(${NOW})`)).toBeGreaterThan(0);
  });
});

it('the flags that an agent sets once it has started are known to this Node: an unknown one would be passed over in silence', () => {
  expect(execFileSync(process.execPath, [...SETTLED_FLAGS, '-p', '1'], { encoding: 'utf8' })).toBe('1\n');
  expect(() => execFileSync(process.execPath, ['--no-such-flag', '-p', '1'], { stdio: 'ignore' })).toThrow();
});
