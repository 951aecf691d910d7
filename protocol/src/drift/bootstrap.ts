/**
 * Stationary block bootstrap (Politis & Romano 1994) with the automatic block length of Politis & White (2004, as
 * corrected by Patton, Politis & White 2009). Sensors depend on their own past: windows of independent draws would
 * look far calmer than real ones, so thresholds come from blocks that keep the dependence.
 */

/** Uniform numbers in [0, 1), reproducible: mulberry32. Statistics only, never for secrets. */
export function seededUniform(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

function autocovariances(x: Float64Array, maxLag: number): number[] {
  const mean = x.reduce((sum, value) => sum + value, 0) / x.length;
  return Array.from({ length: maxLag + 1 }, (_, lag) => {
    let sum = 0;
    for (let t = lag; t < x.length; t++) sum += (x[t]! - mean) * (x[t - lag]! - mean);
    return sum / x.length;
  });
}

/** Lag after which the autocorrelation stays inside its noise band for `run` lags. */
function lastSignificantLag(rho: number[], n: number, run: number): number {
  const band = 2 * Math.sqrt(Math.log10(n) / n);
  let quiet = 0;
  for (let lag = 1; lag < rho.length; lag++) {
    quiet = Math.abs(rho[lag]!) < band ? quiet + 1 : 0;
    if (quiet === run) return lag - run;
  }
  return rho.length - 1 - quiet;
}

const flatTop = (t: number): number => (t <= 0.5 ? 1 : 2 * (1 - t));

/** Expected block length for the stationary bootstrap of `x`, at least four times its correlation length. */
export function blockLength(x: Float64Array): number {
  const n = x.length;
  if (n < 8) return 1;
  const run = Math.max(5, Math.ceil(Math.log10(n)));
  const longest = Math.min(n - 1, Math.ceil(Math.sqrt(n)) + run);
  const covariance = autocovariances(x, longest);
  const variance = covariance[0]!;
  if (!(variance > 0)) return 1;
  const significant = lastSignificantLag(
    covariance.map((value) => value / variance),
    n,
    run,
  );
  const reach = Math.min(longest, Math.max(1, 2 * significant));
  let spectrum = variance;
  let slope = 0;
  for (let lag = 1; lag <= reach; lag++) {
    const weighted = 2 * flatTop(lag / reach) * covariance[lag]!;
    spectrum += weighted;
    slope += lag * weighted;
  }
  const optimal = spectrum > 0 ? ((slope * slope) / (spectrum * spectrum)) ** (1 / 3) * n ** (1 / 3) : 1;
  const correlation = Math.max(1, spectrum / variance);
  const cap = Math.ceil(Math.min(3 * Math.sqrt(n), n / 3));
  return Math.min(cap, Math.max(1, optimal, 4 * correlation));
}

/** Calls `use` with `size` positions of a series of `length`, drawn in blocks that wrap around. */
export function stationaryDraw(
  length: number,
  size: number,
  block: number,
  uniform: () => number,
  use: (position: number) => void,
): void {
  let at = Math.floor(uniform() * length);
  for (let i = 0; i < size; i++) {
    use(at);
    at = uniform() < 1 / block ? Math.floor(uniform() * length) : (at + 1) % length;
  }
}
