/** `skein-model quantize`: from a float ONNX file and data to a smaller one, measured on data that it has not seen. */
import { writeFile } from 'node:fs/promises';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Preprocess, TensorSpec } from '@skein/protocol/manifest.ts';
import type { CalibrationMethod } from './calibrate.ts';
import type { LabelledSample } from './calibration-data.ts';
import { readFed } from './data/disk-fed.ts';
import { readModelFile } from './disk-model.ts';
import { loadGraph } from './graph.ts';
import type { Bounds } from './judge-quantized.ts';
import type { Progress } from './onnx-mixed.ts';
import { withModel } from './onnx-model.ts';
import { type QuantizeMode, type QuantizeReport, quantize } from './onnx-quantize.ts';
import type { ActivationType } from './ranges.ts';

export interface QuantizeCommand {
  calibrate: string;
  /** Other data to measure on. */
  evaluate?: string;
  out: string;
  mode: QuantizeMode;
  calibration?: CalibrationMethod;
  activations: ActivationType;
  skip: string[];
  reduceRange: boolean;
  bounds: Bounds;
  /** Names of the classes in the order of the output; without, known classes are positions from 0. */
  classes?: readonly string[];
  preprocess?: Preprocess;
  /** File, or column, with the known classes of what is measured on. */
  truth?: string;
  truthColumn?: string;
  /** A model that is not good is not written. */
  strict: boolean;
}

interface Labelled {
  samples: LabelledSample[];
  /** Known classes that are no position of the output. */
  unknown: number;
}

/** @throws SkeinError SOURCE_INVALID, TENSOR_INVALID */
async function labelled(
  path: string,
  specs: readonly TensorSpec[],
  { preprocess, classes, ...files }: QuantizeCommand,
  isMeasured: boolean,
): Promise<Labelled> {
  const where = isMeasured ? { truth: files.truth, truthColumn: files.truthColumn } : {};
  const { samples } = await readFed(path, specs, { preprocess, ...where });
  const positionOf = (truth: string): number =>
    classes ? classes.indexOf(truth) : /^\d{1,6}$/.test(truth) ? Number(truth) : -1;
  let unknown = 0;
  const found = samples.map(({ inputs, truth }): LabelledSample => {
    const label = truth === undefined ? -1 : positionOf(truth);
    if (truth !== undefined && label < 0) unknown++;
    return label < 0 ? { input: inputs } : { input: inputs, label };
  });
  return { samples: found, unknown };
}

const notGood = (report: QuantizeReport): SkeinError =>
  new SkeinError('MODEL_INVALID', `not written: ${report.verdict.reasons.join('; ')}`, {
    fix: 'Give more calibration data, leave nodes in float with --skip, or allow more; without --strict it is written.',
  });

async function write(path: string, bytes: Uint8Array): Promise<void> {
  await writeFile(path, bytes).catch((cause: Error) => {
    throw new SkeinError('REQUEST_INVALID', `${path} can not be written: ${cause.message}`, {
      fix: 'Give a path with --out in a directory that exists and may be written.',
      cause,
    });
  });
}

/** @throws SkeinError MODEL_INVALID, SOURCE_INVALID, TENSOR_INVALID, INPUT_NOT_FINITE, REQUEST_INVALID */
export async function runQuantize(
  path: string,
  options: QuantizeCommand,
  onProgress: Progress,
): Promise<QuantizeReport> {
  const model = await readModelFile(path);
  // The bounded reader first: what it refuses never reaches the runtime's parser.
  loadGraph(model);
  const inputs = await withModel(model, async (session) => session.inputs);
  const calibration = await labelled(options.calibrate, inputs, options, options.evaluate === undefined);
  const measured = options.evaluate ? await labelled(options.evaluate, inputs, options, true) : undefined;
  const { mode, activations, skip, reduceRange, bounds } = options;
  const { bytes, report } = await quantize(
    model,
    calibration.samples.map(({ input }) => input),
    {
      mode,
      activations,
      skip,
      reduceRange,
      bounds,
      labels: calibration.samples.map(({ label }) => label),
      ...(options.calibration ? { calibration: options.calibration } : {}),
      ...(measured ? { evaluate: measured.samples } : {}),
      onProgress,
    },
  );
  const { unknown } = measured ?? calibration;
  if (unknown > 0)
    report.warnings.push(
      `${unknown} known classes are no position of the output and were not counted; name them in order with --classes`,
    );
  if (options.strict && !report.verdict.good) throw notGood(report);
  await write(options.out, bytes);
  return report;
}
