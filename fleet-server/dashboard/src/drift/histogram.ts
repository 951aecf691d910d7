/** Reference and observed bins as one picture: bars and a stepped outline in a box of 100 × 40 units. Pure. */
export const BOX = { width: 100, height: 40 } as const;

export interface HistogramShape {
  bars: { x: number; width: number; y: number; height: number; title: string }[];
  /** The reference as steps. */
  outline: string;
}

const round = (n: number): number => Math.round(n * 100) / 100;

export function sharesOf(bins: readonly number[]): number[] {
  const sum = bins.reduce((total, bin) => total + bin, 0);
  return bins.map((bin) => (sum > 0 ? bin / sum : 0));
}

/** Bins are drawn equally wide: they are quantiles of the reference, so a flat outline is what calm looks like. */
export function histogramShape(
  reference: readonly number[],
  observed: readonly number[],
  binTitle: (index: number, reference: number, observed: number) => string,
): HistogramShape {
  const expected = sharesOf(reference);
  const seen = sharesOf(observed);
  const n = Math.max(expected.length, seen.length);
  const highest = Math.max(...expected, ...seen, Number.MIN_VALUE);
  const height = (share: number) => round((share / highest) * (BOX.height - 2));
  const step = BOX.width / Math.max(1, n);
  const bars = Array.from({ length: n }, (_, i) => {
    const tall = height(seen[i] ?? 0);
    return {
      x: round(i * step + step * 0.08),
      width: round(step * 0.84),
      y: round(BOX.height - tall),
      height: tall,
      title: binTitle(i, expected[i] ?? 0, seen[i] ?? 0),
    };
  });
  const steps = expected.map((share, i) => {
    const y = round(BOX.height - height(share));
    return `${i === 0 ? `M0 ${y}` : `V${y}`}H${round((i + 1) * step)}`;
  });
  return { bars, outline: steps.join('') };
}

/** What a bin covers: `≤ 0.2`, `0.2 … 0.4`, `> 0.9`. */
export function binRange(edges: readonly number[], index: number, text: (n: number) => string): string {
  const low = edges[index - 1];
  const high = edges[index];
  if (low === undefined) return high === undefined ? 'all' : `≤ ${text(high)}`;
  return high === undefined ? `> ${text(low)}` : `${text(low)} … ${text(high)}`;
}
