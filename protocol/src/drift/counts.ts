/**
 * Histogram counts over fixed bins. Bin k holds values in (edge[k−1], edge[k]]; the first reaches down to −∞, the last
 * up to +∞. Counts are integers, so merging is exact: the same in any order and any grouping.
 */
import type { DriftRecord } from '../records.ts';

export type ChartCounts = DriftRecord['charts'][number];

/** Index of the bin of `value`: how many edges lie below it. */
export function binOf(edges: readonly number[], value: number): number {
  let low = 0;
  let high = edges.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (edges[middle]! < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

export const emptyCounts = (name: string, bins: number): ChartCounts => ({
  name,
  counts: new Array<number>(bins).fill(0),
  missing: 0,
  outside: 0,
  min: null,
  max: null,
});

/** Adds one value in place; NaN and infinities count as missing. */
export function addValue(
  into: ChartCounts,
  edges: readonly number[],
  range: readonly [number, number] | null,
  value: number,
): void {
  if (!Number.isFinite(value)) {
    into.missing++;
    return;
  }
  into.counts[binOf(edges, value)]!++;
  if (range && (value < range[0] || value > range[1])) into.outside++;
  if (into.min === null || value < into.min) into.min = value;
  if (into.max === null || value > into.max) into.max = value;
}

const least = (a: number | null, b: number | null) => (a === null ? b : b === null ? a : Math.min(a, b));
const most = (a: number | null, b: number | null) => (a === null ? b : b === null ? a : Math.max(a, b));

/** Counts of both; they must be of one chart of one profile (the same number of bins). */
export const mergeCounts = (a: ChartCounts, b: ChartCounts): ChartCounts => ({
  name: a.name,
  counts: a.counts.map((count, bin) => count + (b.counts[bin] ?? 0)),
  missing: a.missing + b.missing,
  outside: a.outside + b.outside,
  min: least(a.min, b.min),
  max: most(a.max, b.max),
});

export const totalOf = (counts: readonly number[]): number => counts.reduce((sum, count) => sum + count, 0);
