import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { scaleModel } from '../agent/inference/models.ts';

const CLI = new URL('../../agent/src/model/cli.ts', import.meta.url).pathname;
const dir = mkdtempSync(join(tmpdir(), 'skein-cli-'));
const at = (name: string) => join(dir, name);
beforeAll(() => {
  writeFileSync(at('scale.onnx'), scaleModel(3, 2));
  const rows = Array.from({ length: 200 }, (_, i) => [Math.sin(i), Math.cos(i), i % 5].join(','));
  writeFileSync(at('data.csv'), `a,b,c\n${rows.join('\n')}\n`);
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

interface Result {
  code: number;
  stdout: string;
  stderr: string;
}
const skeinModel = (...args: string[]): Promise<Result> =>
  new Promise((resolve) => {
    execFile(process.execPath, [CLI, ...args], { cwd: dir }, (error, stdout, stderr) => {
      resolve({ code: typeof error?.code === 'number' ? error.code : error ? 1 : 0, stdout, stderr });
    });
  });

describe('skein-model', () => {
  it('try answers at once, with neither manifest nor keys', async () => {
    const { code, stdout } = await skeinModel('try', 'scale.onnx', '1,2,3', '-o', 'json');
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toEqual([{ sample: 0, 'y top': 2, 'y value': 6, y: [2, 4, 6] }]);
    const spaced = await skeinModel('try', 'scale.onnx', '1', '2', '3');
    expect(spaced.stdout).toContain('2 4 6');
  });

  it('names what is wrong with an input and what to give, with exit code 1', async () => {
    const { code, stderr } = await skeinModel('try', 'scale.onnx', '1,2');
    expect(code).toBe(1);
    expect(stderr).toContain('TENSOR_INVALID: the numbers given: 2 values given, `x` [?, 3] takes 3');
    expect(stderr).toContain('→');
  });

  it('ends with exit code 2 when it is used wrongly and 0 when asked for help', async () => {
    expect(await skeinModel('try')).toMatchObject({ code: 2 });
    expect(await skeinModel('nonsense')).toMatchObject({ code: 2 });
    expect(await skeinModel('pack', '--help')).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('Example'),
    });
  });

  it('packs, verifies and tries a bundle, and refuses a tampered one', async () => {
    const packed = await skeinModel(
      ...['pack', 'scale.onnx', '--name', 'scale', '--version', '1.2.0', '--calibrate', 'data.csv'],
      ...[
        '--labels',
        'x,y,z',
        '--postprocess',
        'classify',
        '--no-int8',
        '--drift-window',
        '50',
        '-o',
        'bundle',
      ],
    );
    expect(packed).toMatchObject({ code: 0, stderr: '' });
    expect(await skeinModel('verify', 'bundle')).toMatchObject({ code: 0 });
    const tried = await skeinModel('try', 'bundle', 'data.csv', '-o', 'json');
    expect(JSON.parse(tried.stdout)).toHaveLength(200);
    const manifest = JSON.parse(readFileSync(at('bundle/manifest.json'), 'utf8'));
    manifest.variants[0].file.sha256 = '0'.repeat(64);
    writeFileSync(at('bundle/manifest.json'), JSON.stringify(manifest));
    expect(await skeinModel('verify', 'bundle')).toMatchObject({
      code: 1,
      stdout: expect.stringContaining('BUNDLE_TRUNCATED'),
    });
  });

  it('inspect shows operators, opset and problems of a file that is no model', async () => {
    const { stdout } = await skeinModel('inspect', 'scale.onnx', '-o', 'json');
    expect(JSON.parse(stdout)).toMatchObject({
      opset: 17,
      operators: { Mul: 1 },
      quantized: 'no',
      problems: [],
    });
    writeFileSync(at('bad.onnx'), 'garbage');
    expect(await skeinModel('inspect', 'bad.onnx')).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('MODEL_INVALID'),
    });
  });
});
