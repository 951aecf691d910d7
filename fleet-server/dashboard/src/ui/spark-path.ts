/** The geometry of a sparkline, pure: values → SVG paths in a box of 100 × 28 units. */
export const BOX = { width: 100, height: 28 } as const;

export interface SparkPath {
  line: string;
  area: string;
  /** y of the limit, when it lies within the box. */
  limitY: number | undefined;
}

/** `floor` and `ceiling` are always in view; outliers widen the scale. Fewer than two points: undefined. */
export function sparkPath(
  values: readonly number[],
  bounds: { floor?: number | undefined; ceiling?: number | undefined; limit?: number | undefined } = {},
): SparkPath | undefined {
  const finite = values.filter(Number.isFinite);
  if (finite.length < 2) return undefined;
  const low = Math.min(bounds.floor ?? Number.POSITIVE_INFINITY, ...finite);
  const high = Math.max(bounds.ceiling ?? Number.NEGATIVE_INFINITY, ...finite);
  const span = high - low || 1;
  const y = (value: number) => round(BOX.height - 1.5 - ((value - low) / span) * (BOX.height - 3));
  const x = (index: number) => round((index / (finite.length - 1)) * BOX.width);
  const line = finite.map((value, index) => `${index ? 'L' : 'M'}${x(index)} ${y(value)}`).join('');
  const limit = bounds.limit;
  return {
    line,
    area: `${line}L${BOX.width} ${BOX.height}L0 ${BOX.height}Z`,
    limitY: limit !== undefined && limit >= low && limit <= high ? y(limit) : undefined,
  };
}

const round = (n: number): number => Math.round(n * 10) / 10;
