/**
 * From the values seen to the range that eight bits cover. What lies beyond is clipped, what lies within is rounded:
 *
 * - `min-max`: nothing is clipped.
 * - `percentile`: a fixed share of the values stays inside, half of the rest cut from each tail.
 * - `entropy`: least Kullback–Leibler divergence between the values and their 8-bit form (Migacz, GTC 2017).
 * - `mse`: least expected squared error.
 *
 * Pure.
 */
import { BINS, type Histogram } from './histogram.ts';
import type { Range } from './ranges.ts';

export type CalibrationMethod =
  | { kind: 'min-max' }
  | { kind: 'percentile'; keep: number }
  | { kind: 'entropy' }
  | { kind: 'mse' };

export const CALIBRATION_KINDS = ['min-max', 'percentile', 'entropy', 'mse'] as const;

/** What is tried when nobody says. */
export const CALIBRATION_CHOICES: readonly CalibrationMethod[] = [
  { kind: 'min-max' },
  { kind: 'percentile', keep: 0.9999 },
  { kind: 'percentile', keep: 0.999 },
  { kind: 'entropy' },
  { kind: 'mse' },
];

export const methodName = (method: CalibrationMethod): string =>
  method.kind === 'percentile' ? `percentile ${Number((method.keep * 100).toFixed(6))}` : method.kind;

const LEVELS = 256;
/** Each side is tried at so many fractions of its extreme. */
const FRACTIONS = 40;
const LEAST_FRACTION = 0.05;

type Loss = (histogram: Histogram, low: number, high: number) => number;

/** Rounding is uniform within a step; a clipped value is off by its distance. */
const squaredError: Loss = (histogram, low, high) => {
  const { from, to, counts } = histogram.used;
  const rounding = ((high - low) / (LEVELS - 1)) ** 2 / 12;
  let loss = 0;
  for (let bin = from; bin <= to; bin++) {
    const centre = (histogram.edge(bin) + histogram.edge(bin + 1)) / 2;
    const beyond = Math.max(0, low - centre, centre - high);
    loss += counts[bin]! * (beyond > 0 ? beyond * beyond : rounding);
  }
  return loss;
};

/** Σ p log(p / q): p has the clipped mass in its outermost bins, q is p in 256 levels, spread over what was not empty. */
const divergence: Loss = (histogram, low, high) => {
  const { from, to, counts } = histogram.used;
  const width = histogram.edge(1) - histogram.edge(0);
  const first = Math.max(from, Math.floor(low / width) + BINS / 2);
  const last = Math.min(to, Math.ceil(high / width) + BINS / 2 - 1);
  const bins = last - first + 1;
  if (bins < LEVELS) return Number.POSITIVE_INFINITY;
  const p = counts.slice(first, last + 1);
  for (let bin = from; bin < first; bin++) p[0]! += counts[bin]!;
  for (let bin = last + 1; bin <= to; bin++) p[bins - 1]! += counts[bin]!;
  const mass = new Float64Array(LEVELS);
  const filled = new Float64Array(LEVELS);
  const levelOf = (i: number) => Math.min(LEVELS - 1, Math.floor((i * LEVELS) / bins));
  for (let i = 0; i < bins; i++) {
    mass[levelOf(i)]! += counts[first + i]!;
    if (counts[first + i]! > 0 || p[i]! > 0) filled[levelOf(i)]!++;
  }
  const inside = mass.reduce((sum, value) => sum + value, 0);
  let loss = 0;
  for (let i = 0; i < bins; i++) {
    if (p[i] === 0) continue;
    const q = Math.max(1e-12, mass[levelOf(i)]! / (filled[levelOf(i)]! * inside));
    loss += (p[i]! / histogram.count) * Math.log(p[i]! / histogram.count / q);
  }
  return loss;
};

/** The upper bound first, then the lower one at that: tails are rarely alike. Ties keep more of the values. */
function search(histogram: Histogram, loss: Loss): Range {
  const low = Math.min(0, histogram.min);
  const high = Math.max(0, histogram.max);
  const best = (of: (fraction: number) => Range): Range => {
    let found = of(1);
    let least = loss(histogram, ...found);
    for (let i = 1; i < FRACTIONS; i++) {
      const range = of(1 - (i * (1 - LEAST_FRACTION)) / FRACTIONS);
      const value = loss(histogram, ...range);
      if (value < least) [found, least] = [range, value];
    }
    return found;
  };
  const [, top] = high > 0 ? best((fraction) => [low, high * fraction]) : [low, high];
  return low < 0 ? best((fraction) => [low * fraction, top]) : [low, top];
}

/** With more values than this, what was seen is what there is; whole numbers then stay exact steps. */
const ENOUGH_VALUES = 2 ** 14;

/**
 * Few values do not reach the extremes of those to come. One clipped value costs more than coarser steps for all
 * (a range half as wide again: 3.5 dB of about 40), so both sides are widened by 6 / √n.
 */
function widened(histogram: Histogram, [low, high]: Range): Range {
  if (histogram.count >= ENOUGH_VALUES) return [low, high];
  const factor = 1 + 6 / Math.sqrt(histogram.count);
  return [low * factor, high * factor];
}

/** An empty histogram gives an empty range. */
export const rangeOf = (histogram: Histogram, method: CalibrationMethod): Range =>
  histogram.count === 0 ? [0, 0] : widened(histogram, chosenRange(histogram, method));

function chosenRange(histogram: Histogram, method: CalibrationMethod): Range {
  switch (method.kind) {
    case 'min-max':
      return [histogram.min, histogram.max];
    case 'percentile': {
      const cut = (1 - method.keep) / 2;
      return cut <= 0
        ? [histogram.min, histogram.max]
        : [histogram.quantile(cut), histogram.quantile(1 - cut)];
    }
    case 'entropy':
      return search(histogram, divergence);
    case 'mse':
      return search(histogram, squaredError);
  }
}
