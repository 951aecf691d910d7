/**
 * The tests of one chart's counts against its profile, and effect sizes beside them. Effect sizes never trigger:
 * on real sensors they pass every usual threshold without any drift.
 */
import type { ChartProfile, DriftProfile } from '../manifest.ts';
import { totalOf } from './counts.ts';
import { type BinScores, binScores, pearson, pearsonGroups, windowScore } from './scores.ts';
import { chiSquaredTail, studentQuantile, studentTail } from './special-functions.ts';

export interface ChartTest {
  n: number;
  zLocation: number;
  zScale: number;
  pLocation: number;
  pScale: number;
  pOmnibus: number;
  /** Smallest mean shift, in reference σ, found with 80% power at 1%; null: no shift can be found. */
  minimumDetectableShift: number | null;
}

export interface EffectSizes {
  psi: number;
  /** Jensen–Shannon distance, base 2: 0 … 1. */
  jensenShannon: number;
  /** Between the normal scores of the bins, so in reference σ. */
  wasserstein: number;
  /** Largest difference of the cumulative distributions at the edges. */
  kolmogorovSmirnov: number;
}

/** Scores saturate in the outer bins: a shift larger than this is not told apart from a larger one. */
const LARGEST_SHIFT = 3;

/**
 * σ of the score of n values, from σ of a window of W: falls with √n once n is beyond both the window and the block
 * of dependence; in between nothing is gained.
 */
function spread(sigma: number, n: number, window: number, block: number): number {
  if (n < window) return sigma * Math.sqrt(window / n);
  const unit = Math.max(window, block);
  return sigma * Math.sqrt(unit / Math.max(n, unit));
}

/** What a chart's tests need beside the counts, worked out once. */
export interface PreparedChart {
  profile: DriftProfile;
  chart: ChartProfile;
  scores: BinScores;
  groups: number[];
  /** Sum of the t quantiles for 1% two-sided and 80% power: found by search, so not before the first test. */
  detectable(): number;
}

export function prepareChart(profile: DriftProfile, chart: ChartProfile): PreparedChart {
  const df = chart.degreesOfFreedom;
  let quantiles: number | undefined;
  return {
    profile,
    chart,
    scores: binScores(chart.probabilities),
    groups: pearsonGroups(chart.probabilities, profile.window),
    detectable: () => (quantiles ??= studentQuantile(0.995, df) + studentQuantile(0.8, df)),
  };
}

/** @param counts one per bin; more than one window's worth is fine. */
export function testChart(prepared: PreparedChart, counts: readonly number[]): ChartTest {
  const { profile, chart, scores, groups, detectable } = prepared;
  const n = totalOf(counts);
  const m = Math.max(1, profile.referenceSize);
  const df = chart.degreesOfFreedom;
  const widened = Math.sqrt(1 + n / m);
  const error = (sigma: number) => spread(sigma, Math.max(1, n), profile.window, m / df) * widened;
  const z = (sigma: number, of: number[]) =>
    sigma > 0 && n > 0 ? windowScore(counts, of) / error(sigma) : 0;
  const zLocation = z(chart.sigmaLocation, scores.location);
  const zScale = z(chart.sigmaScale, scores.scale);
  const grown = n < profile.window ? 1 : Math.max(1, Math.min(n, m / df) / profile.window);
  const square = pearson(chart.probabilities, counts, groups) / (widened * widened) / grown;
  const shift = detectable() * error(chart.sigmaLocation);
  return {
    n,
    zLocation,
    zScale,
    pLocation: studentTail(zLocation, df),
    pScale: studentTail(zScale, df),
    pOmnibus: groups.length > 1 ? chiSquaredTail(square / chart.raoScott.c, chart.raoScott.nu) : 1,
    minimumDetectableShift: chart.sigmaLocation > 0 && shift <= LARGEST_SHIFT ? shift : null,
  };
}

/** Both sides smoothed by half a count, so that empty bins stay finite. @param counts raw counts of the window. */
export function effectSizes(p: readonly number[], counts: readonly number[]): EffectSizes {
  const n = totalOf(counts);
  const q = p.map((_, k) => ((counts[k] ?? 0) + 0.5) / (n + p.length / 2));
  return {
    psi: psi(p, q),
    jensenShannon: jensenShannon(p, q),
    ...distances(p, q, binScores(p).location),
  };
}

/** Population stability index Σ (q − p) ln(q / p); both all positive. */
export const psi = (p: readonly number[], q: readonly number[]): number =>
  p.reduce((sum, reference, k) => sum + (q[k]! - reference) * Math.log(q[k]! / reference), 0);

/** √ of the Jensen–Shannon divergence to base 2; zero probabilities are fine. */
export function jensenShannon(p: readonly number[], q: readonly number[]): number {
  const against = (a: number, m: number) => (a > 0 ? a * Math.log2(a / m) : 0);
  const sum = p.reduce((total, a, k) => {
    const middle = (a + q[k]!) / 2;
    return total + against(a, middle) + against(q[k]!, middle);
  }, 0);
  return Math.sqrt(Math.max(0, sum / 2));
}

/** Wasserstein-1 between two weightings of the same ascending `positions`, and the largest gap of their CDFs. */
export function distances(
  p: readonly number[],
  q: readonly number[],
  positions: readonly number[],
): { wasserstein: number; kolmogorovSmirnov: number } {
  let gap = 0;
  let wasserstein = 0;
  let kolmogorovSmirnov = 0;
  for (let k = 0; k + 1 < p.length; k++) {
    gap += q[k]! - p[k]!;
    wasserstein += Math.abs(gap) * (positions[k + 1]! - positions[k]!);
    kolmogorovSmirnov = Math.max(kolmogorovSmirnov, Math.abs(gap));
  }
  return { wasserstein, kolmogorovSmirnov };
}
