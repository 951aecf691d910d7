/**
 * Parity with scipy 1.10 (Debian's python3-scipy), code that nobody here wrote. How the tables in test/golden were made:
 * - drift-special-functions.json: scipy.special.gammaincc(nu/2, x/2) at x = chi2.isf(q, nu), ndtr, ndtri, gammaln,
 *   2·stats.t.sf; quantiles of t by optimize.brentq on stats.t.sf (stats.t.ppf is good to 1e-9 only); rows are
 *   arguments, then the value.
 * - drift-distances.json: 300 cases from numpy.random.default_rng(20261123) with 2–32 bins, ties, empty bins and single
 *   values; psi = Σ kl_div(q, p) + kl_div(p, q) on counts smoothed by ½, scipy.spatial.distance.jensenshannon(base=2),
 *   stats.wasserstein_distance(positions, positions, p, q), KS = max |cumsum p − cumsum q|, stats.chisquare.
 */
import { readFileSync } from 'node:fs';
import { pearson } from '@skein/protocol/drift/scores.ts';
import {
  chiSquaredTail,
  lgamma,
  normalCdf,
  normalQuantile,
  studentQuantile,
  studentTail,
} from '@skein/protocol/drift/special-functions.ts';
import { distances, jensenShannon, psi } from '@skein/protocol/drift/statistics.ts';
import { describe, expect, it } from 'vitest';

const golden = (name: string) =>
  JSON.parse(readFileSync(new URL(`../../golden/drift-${name}.json`, import.meta.url), 'utf8'));

/** Relative where the value is not tiny, absolute below `floor`. */
function worst(rows: readonly number[][], of: (...args: number[]) => number, floor = 1e-300): number {
  return Math.max(
    ...rows.map((row) => {
      const expected = row.at(-1)!;
      return Math.abs(of(...row.slice(0, -1)) - expected) / Math.max(Math.abs(expected), floor);
    }),
  );
}

describe('special functions agree with scipy', () => {
  const tables = golden('special-functions') as Record<string, number[][]>;

  it('the tail of χ² for real degrees of freedom', () => {
    expect(worst(tables.chiSquaredTail!, chiSquaredTail)).toBeLessThan(2e-12);
  });
  it('Φ, also far into its tail', () => {
    expect(worst(tables.normalCdf!, normalCdf)).toBeLessThan(1e-12);
  });
  it('Φ⁻¹', () => {
    expect(worst(tables.normalQuantile!, normalQuantile, 1e-3)).toBeLessThan(1e-12);
  });
  it("the tail and the quantile of Student's t", () => {
    expect(worst(tables.studentTail!, studentTail)).toBeLessThan(1e-11);
    expect(worst(tables.studentQuantile!, studentQuantile, 1e-3)).toBeLessThan(1e-11);
  });
  it('ln Γ', () => {
    expect(worst(tables.lgamma!, lgamma, 1)).toBeLessThan(1e-13);
  });
});

interface Case {
  p: number[];
  q: number[];
  positions: number[];
  counts: number[];
  smooth: number[];
  psi: number;
  jensenShannon: number;
  wasserstein: number;
  kolmogorovSmirnov: number;
  chiSquared: number;
  chiSquaredP: number;
}

describe('effect sizes and tests agree with scipy on 300 generated cases', () => {
  const cases = golden('distances') as Case[];
  const off = (of: (c: Case) => [number, number]) =>
    Math.max(
      ...cases
        .map((c) => of(c))
        .map(([found, expected]) => Math.abs(found - expected) / Math.max(1, expected)),
    );

  it('population stability index', () => {
    const smoothed = (c: Case) => {
      const n = c.counts.reduce((a, b) => a + b, 0);
      return c.counts.map((count) => (count + 0.5) / (n + c.counts.length / 2));
    };
    expect(off((c) => [psi(c.smooth, smoothed(c)), c.psi])).toBeLessThan(1e-12);
  });
  it('Jensen–Shannon distance', () => {
    // Equal distributions: the square root of a rounding error is all that either side has.
    expect(off((c) => [jensenShannon(c.p, c.q), c.jensenShannon])).toBeLessThan(1e-7);
    const distinct = cases.filter((c) => c.jensenShannon > 1e-3);
    const worstOf = Math.max(...distinct.map((c) => Math.abs(jensenShannon(c.p, c.q) - c.jensenShannon)));
    expect(distinct.length).toBeGreaterThan(250);
    expect(worstOf).toBeLessThan(1e-12);
  });
  it('Wasserstein and Kolmogorov–Smirnov distances', () => {
    const both = (c: Case) => distances(c.p, c.q, c.positions);
    expect(off((c) => [both(c).wasserstein, c.wasserstein])).toBeLessThan(1e-12);
    expect(off((c) => [both(c).kolmogorovSmirnov, c.kolmogorovSmirnov])).toBeLessThan(1e-12);
  });
  it("Pearson's X² and its p-value", () => {
    const each = (c: Case) => c.p.map((_, k) => k);
    expect(off((c) => [pearson(c.smooth, c.counts, each(c)), c.chiSquared])).toBeLessThan(1e-11);
    expect(off((c) => [chiSquaredTail(c.chiSquared, c.p.length - 1), c.chiSquaredP])).toBeLessThan(1e-12);
  });
});
