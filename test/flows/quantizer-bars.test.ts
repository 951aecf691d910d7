/** The quantizer's bars on real models and real data, and its files by ONNX's own checker. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type QuantizeMode, type QuantizeOptions, quantize } from '@skein/agent/model/onnx-quantize.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { gas, hasData, mnist, type Reference, resnet8 } from '../../scripts/reference-models.ts';
import { bytesOf, CASES, samplesOf } from '../agent/model/graphs.ts';

const measured = ({ model, calibration, evaluation }: Reference, options: QuantizeOptions = {}) =>
  quantize(model, calibration, { ...options, evaluate: evaluation });

describe.skipIf(!hasData())(
  'the quantizer on the models of ../shared/data (skipped without that folder)',
  () => {
    it('gas-v1 keeps at least 99.5% on batches 1 and 2 with default settings', async () => {
      const { report } = await measured(gas());
      expect(report.accuracy!.quantized).toBeGreaterThanOrEqual(0.995);
      expect(report.int8Nodes).toHaveLength(3);
    });

    it.each(['mnist-8', 'mnist-13'] as const)(
      '%s keeps at least 98.8% of the 10,000 digits',
      async (name) => {
        const { report } = await measured(mnist(name));
        expect(report.accuracy!.quantized).toBeGreaterThanOrEqual(0.988);
      },
    );

    it('resnet8 agrees with float on at least 96.5% of 500 unseen images, at 20 dB or more', async () => {
      const { report } = await measured(resnet8());
      expect(report.agreement).toBeGreaterThanOrEqual(0.965);
      expect(report.sqnrDb).toBeGreaterThanOrEqual(20);
      expect(report.floatNodes).toEqual([]);
    });

    it.each(['dynamic', 'fp16'] as const)('gas-v1 keeps its accuracy in %s as well', async (mode) => {
      const { report } = await measured(gas(), { mode });
      expect(report.accuracy!.quantized).toBeGreaterThanOrEqual(0.995);
    });
  },
);

/** Debian's Python sees python3-onnx; another Python on the PATH may not. */
const PYTHON = '/usr/bin/python3';
const CHECK = `
import sys, onnx
for path in sys.argv[1:]:
    onnx.checker.check_model(onnx.load(path), full_check=True)
print(len(sys.argv) - 1)`;

const hasChecker = (): boolean => {
  try {
    execFileSync(PYTHON, ['-c', 'import onnx'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
};

describe.skipIf(!hasChecker())("ONNX's own checker (skipped without python3-onnx)", () => {
  let directory: string;
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'skein-checker-'));
  });
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  const check = (models: readonly Uint8Array[]) => {
    const paths = models.map((bytes, i) => {
      const path = join(directory, `${i}.onnx`);
      writeFileSync(path, bytes);
      return path;
    });
    expect(execFileSync(PYTHON, ['-c', CHECK, ...paths], { encoding: 'utf8' }).trim()).toBe(
      String(models.length),
    );
  };

  it('takes every graph that is written, in every mode and with either kind of activations', async () => {
    const models: Uint8Array[] = [];
    for (const [name, make] of Object.entries(CASES)) {
      const example = make(17);
      const samples = samplesOf(example, 24, 18);
      const ways: QuantizeOptions[] = [{}, { activations: 's8', reduceRange: true }, { mode: 'fp16' }];
      // A graph of convolutions only has nothing for dynamic int8.
      if (!['gated', 'loose'].includes(name)) ways.push({ mode: 'dynamic' as QuantizeMode });
      for (const way of ways) models.push((await quantize(bytesOf(example), samples, way)).bytes);
    }
    check(models);
  });

  it.skipIf(!hasData())('takes the models of ../shared/data', async () => {
    const references = [resnet8(), mnist('mnist-8'), mnist('mnist-13'), gas()];
    const models: Uint8Array[] = [];
    for (const { model, calibration } of references) models.push((await quantize(model, calibration)).bytes);
    check(models);
  });
});
