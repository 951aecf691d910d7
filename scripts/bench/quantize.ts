/**
 * The quantizer's bars on the models of ../shared/data: how far int8 is from float, on data that calibration has not
 * seen, and its latency beside float's in the same run. ONNX Runtime's own figures stand beside them as text (its
 * Python tools are in no Debian package): same models and data, other machine.
 */
import { readProcessor } from '@skein/agent/model/linux-processor.ts';
import { medians } from '@skein/agent/model/onnx-model.ts';
import { type QuantizeMode, type QuantizeReport, quantize } from '@skein/agent/model/onnx-quantize.ts';
import { gas, hasData, mnist, type Reference, resnet8 } from '../reference-models.ts';
import type { Emit } from './measurement.ts';

const REPEATS = 5;
const MOST_SLOWDOWN = 0.8;
const middle = (values: number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1]!;

type Say = (
  metric: string,
  value: number,
  unit: string,
  bar?: { text: string; holds: boolean | null },
) => void;

async function made(reference: Reference, say: Say, mode: QuantizeMode = 'static') {
  const { calibration, evaluation, model, name } = reference;
  const started = performance.now();
  const { bytes, report } = await quantize(model, calibration, { mode, evaluate: evaluation });
  say(`${name} ${mode}: time to quantize`, (performance.now() - started) / 1000, 's');
  return { bytes, report };
}

/** Ratio of medians, the middle of several so that a neighbour's burst does not decide. */
async function slowdown({ model, evaluation }: Reference, bytes: Uint8Array): Promise<number> {
  const ratios: number[] = [];
  for (let i = 0; i < REPEATS; i++) {
    const [float, small] = await medians([model, bytes], evaluation[0]!.input, 1_000);
    ratios.push(small! / float!);
  }
  return middle(ratios);
}

async function residual(say: Say): Promise<void> {
  const reference = resnet8();
  const { bytes, report } = await made(reference, say);
  const atLeast = (metric: string, value: number, unit: string, least: number, peer: string) =>
    say(metric, value, unit, { text: `≥ ${least} (ORT ${peer})`, holds: value >= least });
  atLeast('resnet8 agreement with fp32', report.agreement * 100, '%', 96.5, '94.6–95.95');
  atLeast('resnet8 SQNR', report.sqnrDb, 'dB', 20, '18.2–20.1');
  say('resnet8 accuracy, fp32', report.accuracy!.float * 100, '%');
  say('resnet8 accuracy, int8', report.accuracy!.quantized * 100, '%');
  const ratio = await slowdown(reference, bytes);
  const vnni = readProcessor().int8.length > 0;
  say('resnet8 p50, int8 / fp32', ratio, '×', {
    text: vnni ? `≤ ${MOST_SLOWDOWN} (ORT 1.05)` : 'none: no VNNI here',
    holds: vnni ? ratio <= MOST_SLOWDOWN : null,
  });
  for (const mode of ['dynamic', 'fp16'] as const) {
    const other = await made(reference, say, mode);
    describe(`resnet8 ${mode}`, other.report, say);
  }
}

function describe(name: string, report: QuantizeReport, say: Say): void {
  say(`${name} SQNR`, report.sqnrDb, 'dB');
  say(`${name} p50 / fp32`, report.p50Us.int8 / report.p50Us.float, '×');
  say(`${name} size / fp32`, report.sizeBytes.int8 / report.sizeBytes.float, '×');
}

async function accuracy(reference: Reference, say: Say, least: number, peer: string): Promise<void> {
  const { report } = await made(reference, say);
  const value = report.accuracy!.quantized * 100;
  say(`${reference.name} accuracy, fp32`, report.accuracy!.float * 100, '%');
  say(`${reference.name} accuracy, int8`, value, '%', {
    text: `≥ ${least} (ORT ${peer})`,
    holds: value >= least,
  });
  describe(`${reference.name} int8`, report, say);
}

export async function run(emit: Emit): Promise<void> {
  if (!hasData()) {
    process.stderr.write('Skipping: the models and data of ../shared/data are not there.\n');
    return;
  }
  const say: Say = (metric, value, unit, bar) =>
    emit({ bench: 'quantize', metric, value, unit, bar: bar?.text ?? null, holds: bar?.holds ?? null });
  await residual(say);
  await accuracy(mnist('mnist-8'), say, 98.8, '98.91');
  await accuracy(mnist('mnist-13'), say, 98.8, '98.91');
  await accuracy(gas(), say, 99.5, '8.3–99.64');
}
