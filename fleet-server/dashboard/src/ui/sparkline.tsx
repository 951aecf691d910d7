import { BOX, sparkPath } from './spark-path.ts';

export function Sparkline({
  values,
  title,
  second = false,
  ...bounds
}: {
  values: readonly number[];
  /** For a screen reader; the figure itself stands beside as text. */
  title: string;
  second?: boolean;
  floor?: number | undefined;
  ceiling?: number | undefined;
  limit?: number | undefined;
}) {
  const path = sparkPath(values, bounds);
  const tone = second ? 'spark second' : 'spark';
  if (!path) return <span class={`${tone} flat`} />;
  return (
    <svg
      class={tone}
      viewBox={`0 0 ${BOX.width} ${BOX.height}`}
      preserveAspectRatio="none"
      role="img"
      aria-label={title}
    >
      <path class="area" d={path.area} />
      {path.limitY !== undefined && <path class="limit" d={`M0 ${path.limitY}H${BOX.width}`} />}
      <path d={path.line} />
    </svg>
  );
}
