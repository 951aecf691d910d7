import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { readBundle } from '@skein/agent/model/disk-bundle.ts';
import { openModel } from '@skein/agent/model/onnx-quantize.ts';
import { runVerify } from '@skein/agent/model/run-verify.ts';
import { HOST_FEATURES } from '@skein/agent/sources/host-rates.ts';
import { seededUniform } from '@skein/protocol/drift/bootstrap.ts';
import { afterEach, describe, expect, it } from 'vitest';
import { reconstructionErrors, trainAutoencoder } from '../../scripts/train/autoencoder.ts';
import { splitByTime, toOnnx } from '../../scripts/train/host-model.ts';
import { readRecording } from '../../scripts/train/recording.ts';

const uniform = seededUniform(3);
/** Points on a line in eight dimensions, with a little noise. */
const line = (n: number) =>
  Array.from({ length: n }, () => {
    const t = 2 * uniform() - 1;
    return Float32Array.from({ length: 8 }, (_, i) => t * (i % 2 ? 1 : -0.5) + 0.02 * (uniform() - 0.5));
  });
const options = {
  widths: [8, 6, 2, 6, 8],
  epochs: 60,
  batch: 16,
  rate: 5e-3,
  seed: 1,
  corrupt: (window: Float32Array) => window,
};

describe('the autoencoder', () => {
  const windows = line(600);
  const layers = trainAutoencoder(windows, options);
  const mean = (values: Float64Array) => values.reduce((a, b) => a + b, 0) / values.length;

  it('reconstructs what it was trained on and not what lies beside it', () => {
    const known = mean(reconstructionErrors(layers, line(100)));
    const strange = mean(
      reconstructionErrors(
        layers,
        line(100).map((x) => x.map((v, i) => (i === 3 ? -v : v))),
      ),
    );
    expect(known).toBeLessThan(0.005);
    expect(strange).toBeGreaterThan(10 * known);
  });

  it('is the same for the same seed', () => {
    const few = { ...options, epochs: 2 };
    const [a, b] = [trainAutoencoder(windows, few), trainAutoencoder(windows, few)];
    expect(a.map(({ weights }) => [...weights])).toEqual(b.map(({ weights }) => [...weights]));
  });

  it('computes the same as ONNX as it does here', async () => {
    const session = await openModel(toOnnx(layers));
    for (const window of line(5)) {
      const outputs = await session.run({ window: { type: 'float32', dims: [1, 8], data: window } });
      const rebuilt = outputs.reconstruction!.data as Float32Array;
      const error = rebuilt.reduce((sum, value, i) => sum + (value - window[i]!) ** 2, 0) / 8;
      expect(error).toBeCloseTo(reconstructionErrors(layers, [window])[0]!, 6);
    }
    await session.close();
  });
});

describe('the split by time', () => {
  it('uses every second once and keeps whole minutes together', () => {
    const segment = Array.from({ length: 1250 }, (_, i) => Float64Array.of(i));
    const sets = splitByTime([segment, segment.slice(0, 30)]);
    const all = Object.values(sets)
      .flat(2)
      .map((row) => row[0]!);
    expect(all).toHaveLength(1280);
    for (const block of Object.values(sets).flat()) {
      expect(block.map((row) => row[0])).toEqual(block.map((_, i) => block[0]![0]! + i));
    }
    expect(sets.calibration.length).toBeGreaterThan(0);
    expect(sets.holdout.length).toBeGreaterThan(0);
  });
});

describe('a recording', () => {
  const directories: string[] = [];
  afterEach(() => {
    for (const directory of directories.splice(0)) rmSync(directory, { recursive: true, force: true });
  });
  const IDLE = ['cpu_nice', 'cpu_system', 'cpu_iowait', 'cpu_irq', 'cpu_softirq', 'cpu_steal'];
  const COLUMNS = ['ts_ms', 'mono_ms', 'cpu_user', 'cpu_idle', ...IDLE];
  const write = (rows: string[], excluded?: object[]) => {
    const directory = mkdtempSync(join(tmpdir(), 'skein-recording-'));
    directories.push(directory);
    writeFileSync(join(directory, 'r.csv.gz'), gzipSync(`${COLUMNS.join(',')}\n${rows.join('\n')}\n`));
    if (excluded) writeFileSync(join(directory, 'excluded.json'), JSON.stringify(excluded));
    return join(directory, 'r.csv.gz');
  };
  const row = (second: number) =>
    `${second * 1000},${second * 1000},${second * 10},${second * 190},0,0,0,0,0,0`;

  it('is cut at a gap, so no rate spans it, and a half-written line is left out', () => {
    const seconds = [1, 2, 3, 60, 61, 62, 63];
    const segments = readRecording(write([...seconds.map(row), '64000,64']));
    expect(segments.map((segment) => segment.length)).toEqual([2, 3]);
    const busy = HOST_FEATURES.indexOf('cpu_busy');
    expect(segments.flat().map((features) => features[busy])).toEqual(new Array(5).fill(0.05));
  });

  it('is cut where the machine started again', () => {
    expect(readRecording(write([50, 51, 52, 1, 2].map(row))).map((s) => s.length)).toEqual([2, 1]);
  });

  it('leaves out stretches of deliberate stress', () => {
    const excluded = [
      { from: new Date(10_000).toISOString(), to: new Date(20_000).toISOString(), why: 'test' },
    ];
    const path = write(
      Array.from({ length: 30 }, (_, i) => row(i)),
      excluded,
    );
    expect(readRecording(path).map((s) => s.length)).toEqual([9, 8]);
  });
});

describe.each(['bundle', 'bundle-1.1.0'])('the committed host model in %s', (name) => {
  const path = join(import.meta.dirname, '../../models/host', name);

  it('is int8 first, takes the features of the host source, and reproduces its golden vectors', async () => {
    const { manifest } = await readBundle(path);
    expect(manifest.preprocess).toMatchObject({ features: HOST_FEATURES });
    expect(manifest.variants.map(({ id }) => id)).toEqual(['int8', 'fp32']);
    expect(manifest.variants[0]!.file.size).toBeLessThan(manifest.variants[1]!.file.size / 2);
    expect((await runVerify(path, { now: 0 })).every(({ ok }) => ok)).toBe(true);
  });
});
