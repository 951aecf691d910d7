/** The model tools as a person uses them, one after another, on real models and real data; no server runs. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { HOST_FEATURES } from '@skein/agent/sources/host-rates.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readRecording } from '../../scripts/train/recording.ts';

const CLI = fileURLToPath(new URL('../../agent/src/model/cli.ts', import.meta.url));
const HOST = fileURLToPath(new URL('../../models/host', import.meta.url));
const DATA = fileURLToPath(new URL('../../../shared/data', import.meta.url));
const dir = mkdtempSync(join(tmpdir(), 'skein-tools-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));
const ROWS = 1500;
const at = (name: string) => join(dir, name);

interface Result {
  code: number | null;
  stdout: string;
  stderr: string;
}
const start = (...args: string[]): ChildProcess =>
  spawn(process.execPath, [CLI, ...args], { cwd: dir, stdio: ['ignore', 'pipe', 'pipe'] });
function ended(child: ChildProcess): Promise<Result> {
  let [stdout, stderr] = ['', ''];
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  return new Promise((resolve) => child.once('close', (code) => resolve({ code, stdout, stderr })));
}
const tool = (...args: string[]): Promise<Result> => ended(start(...args));
const json = async (...args: string[]) => {
  const { code, stdout, stderr } = await tool(...args);
  if (code !== 0) expect.fail(`${args.join(' ')}: ${code}\n${stderr}`);
  return JSON.parse(stdout);
};
const lines = (path: string) =>
  readFileSync(at(path), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
const hashOf = (path: string) =>
  createHash('sha256')
    .update(readFileSync(at(path)))
    .digest('hex');

describe('the model tools on the host model', () => {
  beforeAll(() => {
    const manifest = JSON.parse(readFileSync(join(HOST, 'bundle/manifest.json'), 'utf8'));
    const float = manifest.variants.find(({ id }: { id: string }) => id === 'fp32').file.sha256;
    writeFileSync(at('host.onnx'), readFileSync(join(HOST, 'bundle/blobs', float)));
    const rows = readRecording(join(HOST, 'recording.csv.gz')).flat().slice(0, ROWS);
    writeFileSync(at('host.csv'), [HOST_FEATURES.join(','), ...rows.map((row) => row.join(','))].join('\n'));
    writeFileSync(at('host.yaml'), JSON.stringify(manifest.preprocess));
  });

  it('inspects it', async () => {
    expect(await json('inspect', 'host.onnx', '-o', 'json')).toMatchObject({
      operators: { Gemm: 4, Tanh: 3 },
      quantized: 'no',
      problems: [],
    });
  });

  it('packs it from its own recording, twice to the same bytes, and verifies it', async () => {
    const pack = (out: string) =>
      json(
        ...['pack', 'host.onnx', '--name', 'host', '--version', '9.0.0', '--calibrate', 'host.csv'],
        ...['--preprocess', 'host.yaml', '--order', 'int8', '--json', '-o', out],
      );
    const report = await pack('host.skein');
    expect(report.variants.map(({ id }: { id: string }) => id)).toEqual(['int8', 'fp32']);
    await pack('again.skein');
    expect(hashOf('again.skein')).toBe(hashOf('host.skein'));
    const checks = await json('verify', 'host.skein', '-o', 'json');
    expect(checks.every(({ ok }: { ok: boolean }) => ok)).toBe(true);
    expect(await json('inspect', 'host.skein', '-o', 'json')).toMatchObject({
      bundle: { model: 'host@9.0.0' },
      quantized: expect.stringContaining('QDQ'),
    });
  });

  it('predicts the recording with it, to JSON lines and to CSV', async () => {
    expect(await tool('predict', 'host.skein', 'host.csv', '--batch', '16', '-o', 'p.jsonl')).toMatchObject({
      code: 0,
    });
    const rows = lines('p.jsonl');
    expect(rows).toHaveLength(ROWS);
    expect(rows.filter(({ label }) => label === 'normal').length).toBeGreaterThan(0.9 * ROWS);
    expect(await tool('predict', 'host.skein', 'host.csv', '-o', 'p.csv')).toMatchObject({ code: 0 });
    const [header, first] = readFileSync(at('p.csv'), 'utf8').split('\n');
    expect(header).toBe('sample,where,label,score,alarm,truth,error,message');
    expect(Number(first!.split(',')[3])).toBeCloseTo(rows[0].score, 5);
  });

  it('benches it in every place where it may run', async () => {
    const report = await json('bench', 'host.skein', '--seconds', '0.05', '--batch', '1,4', '-o', 'json');
    expect(report.rows.map(({ way, batch }: { way: string; batch: number }) => `${way} ${batch}`)).toEqual(
      [1, 4].flatMap((batch) => ['raw session.run', 'inline', 'worker'].map((way) => `${way} ${batch}`)),
    );
    for (const { p50Us, p95Us, p99Us } of report.rows) {
      expect(p50Us).toBeGreaterThan(0);
      expect(p95Us).toBeGreaterThanOrEqual(p50Us);
      expect(p99Us).toBeGreaterThanOrEqual(p95Us);
    }
    expect(report.memory[0].rssBytes).toBeGreaterThan(20 << 20);
  });

  it('ends quietly when whoever reads it goes away, and keeps what it has on Ctrl-C', async () => {
    const { code, stderr } = await new Promise<Result>((resolve) => {
      const child = start('predict', 'host.skein', 'host.csv');
      void ended(child).then(resolve);
      child.stdout!.once('data', () => child.stdout!.destroy());
    });
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const child = start(
      'predict',
      'host.skein',
      ...Array.from({ length: 40 }, () => 'host.csv'),
      '-o',
      'cut.jsonl',
    );
    const done = ended(child);
    while (!existsSync(at('cut.jsonl')) || readFileSync(at('cut.jsonl')).length === 0) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    child.kill('SIGINT');
    expect(await done).toMatchObject({
      code: 130,
      stderr: expect.stringMatching(/stopped after \d+ predicted/),
    });
    const predicted = Number(/stopped after (\d+)/.exec((await done).stderr)![1]);
    expect(lines('cut.jsonl')).toHaveLength(predicted);
  });

  it('says with exit code 1 how many samples failed, and which', async () => {
    const text = readFileSync(at('host.csv'), 'utf8').split('\n');
    writeFileSync(at('bad.csv'), [text[0], text[1], text[2]!.replace(/^[^,]*/, 'oops'), text[3]].join('\n'));
    expect(await tool('predict', 'host.skein', 'bad.csv')).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(
        /bad.csv line 3: column `cpu_user` holds “oops”[\s\S]*2 predicted, 1 failed/,
      ),
    });
    expect(
      (await tool('predict', 'host.skein', 'bad.csv', '--strict')).stdout.trim().split('\n'),
    ).toHaveLength(1);
  });

  it.each(['try', 'predict', 'inspect', 'quantize', 'pack', 'verify', 'bench'])(
    '%s explains itself with an example and its exit codes',
    async (command) => {
      const { code, stdout } = await tool(command, '--help');
      expect(code).toBe(0);
      expect(stdout).toMatch(/Examples?:\n {2}skein-model/);
      expect(stdout).toMatch(/Exit codes: 0/);
    },
  );
});

describe.skipIf(!existsSync(DATA))('the model tools on ../shared/data (skipped without that folder)', () => {
  const model = (name: string) => join(DATA, 'models', name);
  const digits = join(DATA, 'mnist/t10k-images-idx3-ubyte.gz');
  const classes = join(DATA, 'mnist/t10k-labels-idx1-ubyte.gz');

  it('mnist: quantize, then predict the 10,000 digits with both', async () => {
    const accuracy = async (path: string) => {
      const { code, stderr } = await tool(
        'predict',
        path,
        digits,
        '--truth',
        classes,
        '--top',
        '1',
        '-o',
        'd.jsonl',
      );
      expect(code).toBe(0);
      return Number(/accuracy ([\d.]+)%/.exec(stderr)![1]);
    };
    expect(await accuracy(model('mnist-13.onnx'))).toBe(98.91);
    const quantized = await tool(
      'quantize',
      model('mnist-13.onnx'),
      '--calibrate',
      digits,
      '-o',
      'mnist-int8.onnx',
    );
    expect(quantized).toMatchObject({ code: 0 });
    expect(await accuracy(at('mnist-int8.onnx'))).toBeGreaterThanOrEqual(98.8);
  });

  it('gas: pack with its known classes, verify, predict another month', async () => {
    const report = await json(
      ...['pack', model('gas-v1.onnx'), '--name', 'gas', '--version', '1.0.0', '--json', '-o', 'gas'],
      ...['--calibrate', join(DATA, 'gas/batch2.dat.gz')],
      ...['--labels', 'ethanol,ethylene,ammonia,acetaldehyde,acetone,toluene'],
    );
    expect(report.variants.find(({ id }: { id: string }) => id === 'fp32').accuracy).toBeGreaterThan(0.99);
    expect(await tool('verify', 'gas')).toMatchObject({ code: 0 });
    const { stderr } = await tool(
      'predict',
      'gas',
      join(DATA, 'gas/batch3.dat.gz'),
      '--batch',
      '32',
      '-o',
      'g.csv',
    );
    expect(Number(/accuracy ([\d.]+)%/.exec(stderr)![1])).toBeLessThan(90);
  });

  it('resnet8: inspect counts its multiply-accumulates, pack takes raw pictures by a preprocessing file', async () => {
    expect(await json('inspect', model('resnet8-cifar.onnx'), '-o', 'json')).toMatchObject({
      macs: 12_501_632,
      parameters: 78_666,
    });
    writeFileSync(
      at('cifar.yaml'),
      'kind: image\nwidth: 32\nheight: 32\nresize: { mode: stretch, filter: bilinear }\ncolour: RGB\ntype: float32\nlayout: NHWC\n',
    );
    const report = await json(
      ...[
        'pack',
        model('resnet8-cifar.onnx'),
        '--name',
        'cifar',
        '--version',
        '1.0.0',
        '--json',
        '-o',
        'cifar.skein',
      ],
      ...[
        '--calibrate',
        join(DATA, 'cifar/calibration-200.u8.gz'),
        '--preprocess',
        'cifar.yaml',
        '--top-k',
        '3',
      ],
      // A quarter of 200 pictures measures: one that disagrees is 2%, so the default 96.5% is a matter of luck here.
      ...['--order', 'int8', '--min-agreement', '0.9', '--drift-window', '0'],
    );
    expect(report.variants[0]).toMatchObject({ id: 'int8', sizeBytes: expect.any(Number) });
    const images = join(DATA, 'cifar/test-500.u8.gz');
    const truth = join(DATA, 'cifar/test-500-labels.u8');
    const { code, stderr } = await tool(
      'predict',
      'cifar.skein',
      images,
      '--truth',
      truth,
      '--batch',
      '8',
      '-o',
      'c.jsonl',
    );
    expect(code).toBe(0);
    expect(Number(/accuracy ([\d.]+)%/.exec(stderr)![1])).toBeGreaterThan(74);
    expect(lines('c.jsonl')[0].top).toHaveLength(3);
  });
});
