/**
 * The reference profile of one chart, made once when a model is packed and signed with it. About 0.5 KB a chart.
 * Bins are fixed reference quantiles (at most 32); probabilities are smoothed by half a count (Jeffreys), so no bin
 * is impossible; thresholds are calibrated to the chart's own dependence by a block bootstrap.
 */
import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex, utf8ToBytes } from '@noble/hashes/utils.js';
import type { ChartProfile, DriftProfile } from '../manifest.ts';
import type { Sha256Hex } from '../units.ts';
import { blockLength, seededUniform, stationaryDraw } from './bootstrap.ts';
import { binOf } from './counts.ts';
import { binScores, pearson, pearsonGroups, windowScore } from './scores.ts';

export interface ChartReference {
  name: string;
  /** In order of time; NaN is missing. */
  values: ArrayLike<number>;
}

const MAX_BINS = 32;
const REPLICATES = 400;

/** Up to 31 inner quantiles without repetitions, so a tie-heavy feature gets fewer bins. */
export function quantileEdges(sorted: Float64Array): number[] {
  const edges: number[] = [];
  for (let k = 1; k < MAX_BINS && sorted.length > 0; k++) {
    const edge = sorted[Math.min(sorted.length - 1, Math.floor((k * sorted.length) / MAX_BINS))]!;
    if (edges.length === 0 || edge > edges.at(-1)!) edges.push(edge);
  }
  // The largest value as an edge would leave the last bin empty, unless the feature has only one value.
  if (edges.length > 1 && edges.at(-1) === sorted.at(-1)) edges.pop();
  return edges;
}

function smoothed(bins: Uint8Array, count: number): number[] {
  const counts = new Array<number>(count).fill(0.5);
  for (const bin of bins) counts[bin]!++;
  return counts.map((value) => value / (bins.length + count / 2));
}

const moments = (values: Float64Array): { mean: number; variance: number } => {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1);
  return { mean, variance };
};

/** A nearly constant chart has no dependence to learn from: its scores count as independent. */
const NEARLY_CONSTANT = 0.98;

function calibrate(bins: Uint8Array, p: number[], window: number, seed: number) {
  const scores = binScores(p);
  const groups = pearsonGroups(p, window);
  const series = (of: number[]) => Float64Array.from(bins, (bin) => of[bin]!);
  const block = Math.max(blockLength(series(scores.location)), blockLength(series(scores.scale)));
  const uniform = seededUniform(seed);
  const location = new Float64Array(REPLICATES);
  const scale = new Float64Array(REPLICATES);
  const squares = new Float64Array(REPLICATES);
  for (let r = 0; r < REPLICATES; r++) {
    const counts = new Array<number>(p.length).fill(0);
    stationaryDraw(bins.length, window, block, uniform, (at) => {
      counts[bins[at]!]!++;
    });
    location[r] = windowScore(counts, scores.location);
    scale[r] = windowScore(counts, scores.scale);
    squares[r] = pearson(p, counts, groups);
  }
  const floor = Math.max(...p) > NEARLY_CONSTANT ? 1 / Math.sqrt(window) : 0;
  const sigma = (values: Float64Array, of: number[]) =>
    of.every((score) => score === 0) ? 0 : Math.max(floor, Math.sqrt(moments(values).variance));
  const { mean, variance } = moments(squares);
  const usable = mean > 0 && variance > 0;
  return {
    sigmaLocation: sigma(location, scores.location),
    sigmaScale: sigma(scale, scores.scale),
    degreesOfFreedom: Math.max(1, bins.length / block),
    // Rao–Scott: X²/c ~ χ²_ν with c = v/2m and ν = 2m²/v.
    raoScott: usable ? { c: variance / (2 * mean), nu: (2 * mean * mean) / variance } : { c: 1, nu: 1 },
  };
}

/** Nine digits say all that a bootstrap knows and keep the profile small and equal on every machine. */
const short = (value: number): number => Number(value.toPrecision(9));
const shortened = (chart: ChartProfile): ChartProfile => ({
  ...chart,
  probabilities: chart.probabilities.map(short),
  missingRate: short(chart.missingRate),
  sigmaLocation: short(chart.sigmaLocation),
  sigmaScale: short(chart.sigmaScale),
  degreesOfFreedom: short(chart.degreesOfFreedom),
  raoScott: { c: short(chart.raoScott.c), nu: short(chart.raoScott.nu) },
});

/** @param window predictions per window. @param seed makes the bootstrap reproducible. */
export function makeChart(reference: ChartReference, window: number, seed: number): ChartProfile {
  const values = Float64Array.from(reference.values).filter(Number.isFinite);
  const sorted = values.slice().sort();
  const edges = quantileEdges(sorted);
  const bins = Uint8Array.from(values, (value) => binOf(edges, value));
  const probabilities = smoothed(bins, edges.length + 1);
  const span = sorted.length > 0 ? sorted.at(-1)! - sorted[0]! : 0;
  return shortened({
    name: reference.name,
    edges,
    probabilities,
    range: span > 0 ? [sorted[0]! - span, sorted.at(-1)! + span] : null,
    missingRate: 1 - values.length / Math.max(1, reference.values.length),
    ...calibrate(bins, probabilities, window, seed),
  });
}

export interface ProfileOptions {
  /** Predictions per tumbling window. */
  window: number;
  /** How many windows a device closes in 30 days; the run length to a false alarm follows from it. */
  windowsPerMonth: number;
  seed: number;
}

/** All references have one length, the reference size. */
export const makeProfile = (references: ChartReference[], options: ProfileOptions): DriftProfile => ({
  window: options.window,
  referenceSize: references[0]?.values.length ?? 0,
  windowsPerMonth: options.windowsPerMonth,
  charts: references.map((reference, i) => makeChart(reference, options.window, options.seed + i)),
});

/** Counts may be merged only among equal hashes. */
export function profileHash(profile: DriftProfile): Sha256Hex {
  const charts = profile.charts.map((c) => [c.name, c.edges, c.probabilities, c.range, c.missingRate]);
  const whole = [profile.window, profile.referenceSize, profile.windowsPerMonth, charts];
  return bytesToHex(sha256(utf8ToBytes(JSON.stringify(whole))));
}

/** First differences; the first value has none. */
export const differences = (values: ArrayLike<number>): Float64Array =>
  Float64Array.from({ length: values.length }, (_, t) =>
    t === 0 ? Number.NaN : values[t]! - values[t - 1]!,
  );
