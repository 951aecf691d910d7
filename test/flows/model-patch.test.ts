import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { tuned, twoLayers } from '../protocol/delta/pairs.ts';

const CLI = new URL('../../agent/src/model/cli.ts', import.meta.url).pathname;
const dir = mkdtempSync(join(tmpdir(), 'skein-patch-'));
const at = (name: string) => join(dir, name);
const first = tuned(64 * 320, 0.01, 1);
const last = tuned(32 * 320, 0.01, 2);

beforeAll(() => {
  writeFileSync(at('old.onnx'), twoLayers(first.was, last.was));
  writeFileSync(at('new.onnx'), twoLayers(first.now, last.now));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const skeinModel = (...args: string[]) =>
  new Promise<{ code: number; stdout: string; stderr: string }>((resolve) => {
    execFile(process.execPath, [CLI, ...args], { cwd: dir }, (error, stdout, stderr) => {
      resolve({ code: typeof error?.code === 'number' ? error.code : error ? 1 : 0, stdout, stderr });
    });
  });

describe('skein-model diff and patch', () => {
  it('carry a model to its next version, and refuse another base', async () => {
    const made = await skeinModel('diff', 'old.onnx', 'new.onnx', '-o', 'p.skd', '--json');
    expect(made).toMatchObject({ code: 0, stderr: '' });
    expect(JSON.parse(made.stdout)).toMatchObject({ form: 'delta', written: 'p.skd' });
    expect(JSON.parse(made.stdout).share).toBeLessThan(0.7);
    expect(await skeinModel('patch', 'old.onnx', 'p.skd', '-o', 'made.onnx')).toMatchObject({ code: 0 });
    expect(readFileSync(at('made.onnx')).equals(readFileSync(at('new.onnx')))).toBe(true);
    const wrong = await skeinModel('patch', 'new.onnx', 'p.skd', '-o', 'bad.onnx');
    expect(wrong).toMatchObject({ code: 1, stderr: expect.stringContaining('PATCH_WRONG_BASE') });
  });
});
