/**
 * Which samples calibrate and which measure: never the same ones, unless there are too few to divide. Values that are
 * no numbers are refused with their place. Pure.
 */
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Tensors } from '../inference/backend.ts';

export interface LabelledSample {
  input: Tensors;
  /** Known class, as the position of the largest output. */
  label?: number;
}

export interface SplitData {
  calibration: Tensors[];
  evaluation: LabelledSample[];
  heldOut: boolean;
  warnings: string[];
}

/** Each fourth sample measures; fewer than this are not divided. */
const LEAST_TO_SPLIT = 8;
const HELD_OUT_EVERY = 4;
const MOST_CALIBRATION = 1_000;
const MOST_EVALUATION = 20_000;
const FEW = 16;

/** At most `most`, evenly spaced: the same ones every time. */
export const spaced = <T>(items: readonly T[], most: number): T[] =>
  items.length <= most
    ? [...items]
    : Array.from({ length: most }, (_, i) => items[Math.floor((i * items.length) / most)]!);

/** @throws SkeinError INPUT_NOT_FINITE naming sample, input and position, all from 0 */
export function checkFinite(samples: readonly Tensors[], what: string): void {
  samples.forEach((sample, s) => {
    for (const [name, { data }] of Object.entries(sample)) {
      if (!(data instanceof Float32Array || data instanceof Float64Array)) continue;
      const at = (data as Float32Array).findIndex((value) => !Number.isFinite(value));
      if (at < 0) continue;
      throw new SkeinError(
        'INPUT_NOT_FINITE',
        `sample ${s} of the ${what} data has ${data[at]} in \`${name}\` at position ${at}`,
        { fix: 'Remove the sample, or fill the value as the device does.', data: { sample: s, name, at } },
      );
    }
  });
}

function divided(samples: readonly LabelledSample[]): {
  calibration: Tensors[];
  evaluation: LabelledSample[];
} {
  const held = (i: number) => i % HELD_OUT_EVERY === HELD_OUT_EVERY - 1;
  return {
    calibration: samples.filter((_, i) => !held(i)).map(({ input }) => input),
    evaluation: samples.filter((_, i) => held(i)),
  };
}

/** @throws SkeinError MODEL_INVALID without samples, INPUT_NOT_FINITE */
export function splitData(
  samples: readonly LabelledSample[],
  evaluate: readonly LabelledSample[] | undefined,
): SplitData {
  if (samples.length === 0) throw new SkeinError('MODEL_INVALID', 'calibration needs at least one sample');
  if (evaluate?.length === 0) throw new SkeinError('MODEL_INVALID', 'there is no sample to measure on');
  const warnings: string[] = [];
  const enough = evaluate !== undefined || samples.length >= LEAST_TO_SPLIT;
  const parts =
    evaluate || !enough
      ? { calibration: samples.map(({ input }) => input), evaluation: evaluate ?? samples }
      : divided(samples);
  const calibration = spaced(parts.calibration, MOST_CALIBRATION);
  if (calibration.length === 1) {
    warnings.push('calibrated on a single sample: ranges that it does not reach are clipped');
  } else if (calibration.length < FEW) {
    warnings.push(`calibrated on ${calibration.length} samples; some hundreds are better`);
  }
  checkFinite(calibration, 'calibration');
  const evaluation = spaced(parts.evaluation, MOST_EVALUATION);
  checkFinite(
    evaluation.map(({ input }) => input),
    'evaluation',
  );
  return { calibration, evaluation, heldOut: enough, warnings };
}
