/** Whether a quantized model may be called good: as accurate and as fast as asked, measured on data it has not seen. Pure. */
import type { Millis } from '@skein/protocol/units.ts';
import type { Comparison } from './compare-outputs.ts';

export interface Bounds {
  /** Least share of samples whose largest output is the float model's. */
  minAgreement: number;
  /** Least signal to noise of every output, dB. */
  minSqnrDb: number;
  /** Largest loss of accuracy on labels, as a share. */
  maxAccuracyLoss: number;
  /** Largest latency as a multiple of the float model's. */
  maxSlowdown: number;
}

/**
 * Where float itself is unsure, eight bits tip the balance either way: 3.5 % of other answers cost resnet8 on CIFAR-10
 * less than two points, which is what 500 samples can tell apart.
 */
export const DEFAULT_BOUNDS: Bounds = {
  minAgreement: 0.965,
  minSqnrDb: 20,
  maxAccuracyLoss: 0.02,
  maxSlowdown: 1,
};

export interface Accuracy {
  float: number;
  quantized: number;
}

export interface Measured extends Comparison {
  /** null without labels. */
  accuracy: Accuracy | null;
  p50Ms: { float: Millis; quantized: Millis };
  /** Measured on samples that calibration did not see. */
  heldOut: boolean;
}

export interface Verdict {
  good: boolean;
  /** What does not hold. */
  reasons: string[];
}

const percent = (share: number): string => `${(share * 100).toFixed(2)}%`;

/** Accurate enough to look no further; speed is measured once, at the end. */
export const isAccurate = (found: Comparison, bounds: Bounds): boolean =>
  found.agreement >= bounds.minAgreement && found.sqnrDb >= bounds.minSqnrDb;

export function judgeQuantized(found: Measured, bounds: Bounds): Verdict {
  const { accuracy, p50Ms } = found;
  const reasons: string[] = [];
  for (const { name, agreement, sqnrDb } of found.outputs) {
    if (agreement !== null && agreement < bounds.minAgreement) {
      const wanted = percent(bounds.minAgreement);
      reasons.push(
        `\`${name}\` agrees with float on ${percent(agreement)} of the samples, ${wanted} are wanted`,
      );
    }
    if (sqnrDb !== null && sqnrDb < bounds.minSqnrDb) {
      reasons.push(
        `\`${name}\` is ${sqnrDb.toFixed(1)} dB above its rounding noise, ${bounds.minSqnrDb} are wanted`,
      );
    }
  }
  if (accuracy && accuracy.quantized < accuracy.float - bounds.maxAccuracyLoss) {
    reasons.push(`accuracy falls from ${percent(accuracy.float)} to ${percent(accuracy.quantized)}`);
  }
  const slowdown = p50Ms.quantized / p50Ms.float;
  if (slowdown > bounds.maxSlowdown) {
    reasons.push(
      `it takes ${slowdown.toFixed(2)} × the float model's time, ${bounds.maxSlowdown} is allowed`,
    );
  }
  if (!found.heldOut) reasons.push('it was measured on the data that it was calibrated on');
  return { good: reasons.length === 0, reasons };
}
