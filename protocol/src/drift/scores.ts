/**
 * What each bin counts for. Location score a: normal score of the bin's mid-CDF, standardised under the reference.
 * Scale score b ∝ a² − 1, made orthogonal to a. Both are linear in the counts, so a window's score merges exactly.
 */
import { normalQuantile } from './special-functions.ts';

/** A bin that the reference hardly knows must not decide alone. */
const MAX_SCORE = 3;

export interface BinScores {
  location: number[];
  scale: number[];
}

const dot = (p: readonly number[], x: readonly number[], y: readonly number[]): number =>
  p.reduce((sum, weight, k) => sum + weight * x[k]! * y[k]!, 0);

/** Mean 0 and variance 1 under p, clipped; all zero when it is constant. */
function standardise(p: readonly number[], x: readonly number[]): number[] {
  const ones = x.map(() => 1);
  const mean = dot(p, x, ones);
  const centred = x.map((value) => value - mean);
  const deviation = Math.sqrt(dot(p, centred, centred));
  if (deviation < 1e-9) return x.map(() => 0);
  return centred.map((value) => Math.max(-MAX_SCORE, Math.min(MAX_SCORE, value / deviation)));
}

/** @param p probabilities of the bins, all positive, sum 1. */
export function binScores(p: readonly number[]): BinScores {
  let below = 0;
  const normal = p.map((weight) => {
    const middle = below + weight / 2;
    below += weight;
    return normalQuantile(Math.min(Math.max(middle, 1e-12), 1 - 1e-12));
  });
  const location = standardise(p, normal);
  const square = location.map((a) => a * a - 1);
  const along = dot(p, square, location);
  return {
    location,
    scale: standardise(
      p,
      square.map((value, k) => value - along * location[k]!),
    ),
  };
}

/** Σ c_k s_k / n; 0 for an empty window. */
export function windowScore(counts: readonly number[], scores: readonly number[]): number {
  let sum = 0;
  let n = 0;
  for (let k = 0; k < scores.length; k++) {
    sum += (counts[k] ?? 0) * scores[k]!;
    n += counts[k] ?? 0;
  }
  return n > 0 ? sum / n : 0;
}

/** Bins are joined with their neighbours until each is expected at least once in a window. Returns the groups' last bins. */
export function pearsonGroups(p: readonly number[], window: number): number[] {
  const ends: number[] = [];
  let held = 0;
  p.forEach((weight, k) => {
    held += weight * window;
    if (held >= 1) {
      ends.push(k);
      held = 0;
    }
  });
  // What is left over belongs to the last group.
  if (ends.length > 0) ends[ends.length - 1] = p.length - 1;
  return ends;
}

/** Pearson's X² over the groups. */
export function pearson(p: readonly number[], counts: readonly number[], groups: readonly number[]): number {
  const n = counts.reduce((sum, count) => sum + count, 0);
  if (n === 0) return 0;
  let k = 0;
  return groups.reduce((sum, end) => {
    let expected = 0;
    let seen = 0;
    for (; k <= end; k++) {
      expected += p[k]! * n;
      seen += counts[k] ?? 0;
    }
    return sum + (seen - expected) ** 2 / expected;
  }, 0);
}
