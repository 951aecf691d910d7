/**
 * A bet against "the rate is at most so much" after k of n. It is an e-value: its expectation is at most 1 while that is
 * true, so by Ville's inequality it exceeds 1/α at any time, however often one looks, with probability at most α.
 */

/** Odds that are bet on, times those of the null. */
const ODDS = [1.5, 2, 3, 5, 10, 30, 100];

/** e-value against "the rate is at most `rate`" after `k` of `n`: the mean likelihood ratio over {@link ODDS}. */
export function evidenceAbove(k: number, n: number, rate: number): number {
  if (n === 0 || rate >= 1) return 1;
  if (rate <= 0) return k > 0 ? Number.POSITIVE_INFINITY : 1;
  return mean(ODDS.map((r) => ratio(k, n, rate, r)));
}

function ratio(k: number, n: number, rate: number, odds: number): number {
  const bet = (odds * rate) / (1 - rate + odds * rate);
  return Math.exp(k * Math.log(bet / rate) + (n - k) * Math.log((1 - bet) / (1 - rate)));
}

const mean = (values: number[]): number => values.reduce((a, b) => a + b, 0) / values.length;
