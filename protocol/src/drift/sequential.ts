/**
 * From p-values of windows to an alarm with a budget. e = (1 − p + p ln p) / (p ln² p) is an e-value when p is valid
 * (Vovk & Wang 2021, the mixture calibrator). The e-values of all charts are averaged (an average of e-values is an
 * e-value under any dependence) and one Shiryaev–Roberts statistic R ← (1 + R)·e runs on the mean: its average run
 * length to a false alarm is at least A windows.
 */

/** Where p carries no more evidence than a double can hold. */
const SMALLEST_P = 1e-300;

export function eValue(p: number): number {
  const q = Math.max(SMALLEST_P, Math.min(1, p));
  const log = Math.log(q);
  // Near 1 numerator and denominator vanish; the limit is 1/2 with slope −1/6 in ln p.
  if (log > -1e-4) return 0.5 - log / 6;
  return (1 - q + q * log) / (q * log * log);
}

export interface SequentialState {
  r: number;
  alarm: boolean;
  /** Calm windows in a row while in alarm. */
  calm: number;
}

export const START: SequentialState = { r: 0, alarm: false, calm: 0 };

/** An alarm ends after this many calm windows in a row. */
export const CALM_WINDOWS = 3;
/** R is not let grow without bound, so that memory of an old alarm can not outlive it. */
const LARGEST_R = 1e12;

/** @param e mean e-value of this window. @param threshold A: windows per allowed false alarm. */
export function stepSequential(state: SequentialState, e: number, threshold: number): SequentialState {
  const r = Math.min(LARGEST_R, (1 + state.r) * e);
  if (!state.alarm) return { r, alarm: r >= threshold, calm: 0 };
  const calm = e < 1 ? state.calm + 1 : 0;
  return calm >= CALM_WINDOWS ? START : { r, alarm: true, calm };
}
