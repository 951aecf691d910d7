import { mkdtempSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Bundle, bundleFromTar, bundleToTar, goldenOf, hashOf } from '@skein/agent/model/bundle.ts';
import { readBundle, writeBundle, writeBundleArchive } from '@skein/agent/model/disk-bundle.ts';
import { goldenDifference } from '@skein/agent/model/golden.ts';
import { type PackRequest, packModel } from '@skein/agent/model/onnx-pack.ts';
import { runTry } from '@skein/agent/model/run-try.ts';
import { runVerify } from '@skein/agent/model/run-verify.ts';
import { readTar, writeTar } from '@skein/agent/model/tar.ts';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { scaleModel } from '../inference/models.ts';

const directories: string[] = [];
const temporary = () => {
  const directory = mkdtempSync(join(tmpdir(), 'skein-bundle-'));
  directories.push(directory);
  return directory;
};
afterEach(() => {
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true, force: true });
});

const request: PackRequest = {
  name: 'scale',
  version: '1.0.0',
  description: 'y = 2 x',
  licence: 'Apache-2.0',
  model: scaleModel(2, 2),
  preprocess: {
    kind: 'features',
    features: ['a', 'b'],
    window: { size: 1, stride: 1, padding: 'none' },
    onMissing: 'reject',
  },
  postprocess: { kind: 'classify', output: 'y', softmax: true, labels: ['a', 'b'], alarmLabels: ['b'] },
  recording: [Array.from({ length: 300 }, (_, i) => Float64Array.of(Math.sin(i), Math.cos(i * 3)))],
  int8: false,
  drift: { window: 50, readingsPerSecond: 1 },
  trainedFrom: [],
};
let bundle: Bundle;
beforeAll(async () => {
  ({ bundle } = await packModel(request));
});

describe('packing', () => {
  it('writes a manifest whose hashes are those of its blobs, with a chart for every feature and output', () => {
    const { manifest } = bundle;
    expect(manifest.variants[0]!.file.sha256).toBe(hashOf(request.model));
    expect(manifest.drift!.charts.map(({ name }) => name)).toEqual([
      'a',
      'a:diff',
      'b',
      'b:diff',
      'confidence',
      'output:label',
    ]);
    expect(goldenOf(bundle).vectors).toHaveLength(8);
  });

  it('is reproducible to the byte', async () => {
    const again = await packModel(request);
    expect(again.bundle.manifestSha256).toBe(bundle.manifestSha256);
    expect(bundleToTar(again.bundle)).toEqual(bundleToTar(bundle));
  });

  it('refuses data that gives no window', async () => {
    await expect(packModel({ ...request, recording: [[]] })).rejects.toMatchObject({ code: 'MODEL_INVALID' });
  });

  it('refuses features that do not fill the input', async () => {
    const preprocess = { ...request.preprocess, features: ['a'] };
    const recording = request.recording!.map((rows) => rows.map((row) => row.slice(0, 1)));
    await expect(packModel({ ...request, preprocess, recording })).rejects.toBeDefined();
  });
});

describe('a bundle on disk', () => {
  it('reads back as it was written, as a directory and as one file', async () => {
    const directory = temporary();
    await writeBundle(bundle, join(directory, 'dir'));
    await writeBundleArchive(bundle, join(directory, 'model.skein'));
    for (const path of ['dir', 'model.skein']) {
      const read = await readBundle(join(directory, path));
      expect(read.manifestSha256).toBe(bundle.manifestSha256);
      expect([...read.blobs.keys()].sort()).toEqual([...bundle.blobs.keys()].sort());
    }
    expect(await runVerify(join(directory, 'model.skein'), { now: 0 })).toMatchObject([
      { check: 'manifest', ok: true },
      { check: 'blob', subject: 'variant fp32', ok: true },
      { check: 'blob', subject: 'golden vectors', ok: true },
      { check: 'golden', detail: expect.stringContaining('8/8'), ok: true },
    ]);
  });

  it('says labels and scores when it is tried on readings', async () => {
    const directory = temporary();
    await writeBundle(bundle, directory);
    writeFileSync(join(directory, 'data.csv'), 'b,a\n3,1\n0,2\n');
    expect(await runTry(directory, [join(directory, 'data.csv')])).toMatchObject([
      { sample: 0, label: 'b', alarm: 1 },
      { sample: 1, label: 'a', alarm: 0 },
    ]);
  });

  it('with a truncated blob is refused', async () => {
    const directory = temporary();
    await writeBundle(bundle, directory);
    truncateSync(join(directory, 'blobs', bundle.manifest.variants[0]!.file.sha256), 10);
    await expect(readBundle(directory)).rejects.toMatchObject({ code: 'BUNDLE_TRUNCATED' });
  });

  it('with a missing blob is refused', async () => {
    const directory = temporary();
    await writeBundle(bundle, directory);
    rmSync(join(directory, 'blobs', readdirSync(join(directory, 'blobs'))[0]!));
    await expect(readBundle(directory)).rejects.toMatchObject({ code: 'BUNDLE_TRUNCATED' });
  });

  it('with changed bytes is refused', async () => {
    const directory = temporary();
    await writeBundle(bundle, directory);
    const { sha256, size } = bundle.manifest.variants[0]!.file;
    writeFileSync(join(directory, 'blobs', sha256), new Uint8Array(size));
    await expect(readBundle(directory)).rejects.toMatchObject({ code: 'BLOB_MISMATCH' });
  });

  it('with a tampered manifest is refused', async () => {
    const directory = temporary();
    await writeBundle(bundle, directory);
    writeFileSync(join(directory, 'manifest.json'), JSON.stringify({ ...bundle.manifest, extra: 1 }));
    await expect(readBundle(directory)).rejects.toMatchObject({ code: 'MANIFEST_INVALID' });
  });

  it('that does not exist is refused with what to give', async () => {
    await expect(readBundle(join(temporary(), 'nothing'))).rejects.toMatchObject({
      code: 'BUNDLE_INVALID',
      fix: expect.stringContaining('skein-model pack'),
    });
  });
});

describe('an archive', () => {
  it('cut short at any block is refused', () => {
    const whole = bundleToTar(bundle);
    for (let length = 0; length < whole.length - 1024; length += 512) {
      expect(() => bundleFromTar(whole.subarray(0, length))).toThrow(
        expect.objectContaining({ code: expect.stringMatching(/^BUNDLE_/) }),
      );
    }
  });

  it('with a damaged header is refused', () => {
    const whole = bundleToTar(bundle);
    whole[0]! ^= 1;
    expect(() => bundleFromTar(whole)).toThrow(/damaged/);
  });

  it.each(['../evil', '/etc/passwd', 'a/../b', ''])('never takes the name “%s”', (name) => {
    expect(() => writeTar([[name, new Uint8Array(1)]])).toThrow(/can not be a name/);
  });

  it('is read by no name that was written around us', () => {
    const files = new Map([['a.txt', new TextEncoder().encode('hello')]]);
    const tar = writeTar(files);
    expect(readTar(tar)).toEqual(files);
    const evil = tar.slice();
    evil.set(new TextEncoder().encode('../x\0'), 0);
    let sum = 0;
    for (let i = 0; i < 512; i++) sum += i >= 148 && i < 156 ? 32 : evil[i]!;
    evil.set(new TextEncoder().encode(`${sum.toString(8).padStart(6, '0')}\0 `), 148);
    expect(() => readTar(evil)).toThrow(/not a plain file/);
  });
});

describe('golden vectors', () => {
  const vector = { inputs: {}, outputs: { y: { shape: [2], data: [1, 2] } } };
  const found = (...values: number[]) => ({
    y: { type: 'float32' as const, dims: [values.length], data: Float32Array.from(values) },
  });

  it('differ by the largest value', () => {
    expect(goldenDifference(vector, found(1, 2.5))).toBe(0.5);
  });

  it.each([
    ['NaN', found(1, Number.NaN)],
    ['another shape', found(1)],
    ['nothing', {}],
  ])('differ without bound from %s', (_what, outputs) => {
    expect(goldenDifference(vector, outputs)).toBe(Number.POSITIVE_INFINITY);
  });
});
