/** What our plots look like, in uPlot's terms: thin lines, quiet grid, 24 h clock, a dashed limit. */
import type uPlot from 'uplot';
import { timeOfDay } from '../data/format.ts';
import { metricOf } from '../data/metric.ts';

export interface PlotShape {
  /** Read by screen readers. */
  label: string;
  height: number;
  series: { name: string; title: string; tone: 1 | 2; fill: boolean }[];
  /** Names the metric whose format and bounds the y axis takes. */
  metric: string;
  limit?: number | undefined;
  /** Plots with one group share a cursor. */
  group?: string;
}

export interface Readout {
  ts: number;
  values: (number | null | undefined)[];
}

const FEW_POINTS = 8;

const colour = (from: Element, name: string): string => getComputedStyle(from).getPropertyValue(name).trim();

export function plotOptions(
  shape: PlotShape,
  width: number,
  from: Element,
  onReadout: (readout: Readout | undefined) => void,
): uPlot.Options {
  const metric = metricOf(shape.metric);
  const ink = colour(from, '--plot-ink');
  const grid = { stroke: colour(from, '--plot-grid'), width: 1 };
  const font = `12px ${getComputedStyle(from).fontFamily}`;
  const axis = { stroke: ink, font, grid, ticks: { show: false } };
  return {
    width,
    height: shape.height,
    ms: 1,
    legend: { show: false },
    // Right: half of a time label.
    padding: [8, 30, 0, 0],
    cursor: {
      y: false,
      drag: { x: true, y: false },
      points: { size: 7 },
      ...(shape.group ? { sync: { key: shape.group } } : {}),
    },
    scales: {
      x: { time: true },
      y: { range: (_plot, low, high) => bounds(low, high, metric, shape.limit) },
    },
    axes: [
      { ...axis, space: 70, size: 28, values: (_plot, splits) => clockLabels(splits) },
      {
        ...axis,
        space: 32,
        size: 62,
        values: (_plot, splits) => splits.map((value) => metric.format(value)),
      },
    ],
    series: [
      {},
      ...shape.series.map(({ title, tone, fill }): uPlot.Series => {
        const stroke = colour(from, `--plot-${tone}`);
        return {
          label: title,
          stroke,
          width: 1.5,
          // A few readings make no line that the eye finds.
          points: { show: (plot) => (plot.data[0]?.length ?? 0) < FEW_POINTS, size: 5, fill: stroke },
          ...(fill ? { fill: colour(from, `--plot-${tone}-fill`) } : {}),
        };
      }),
    ],
    hooks: {
      setCursor: [(plot) => onReadout(readoutAt(plot))],
      ...(shape.limit === undefined ? {} : { draw: [limitLine(shape.limit, colour(from, '--plot-limit'))] }),
    },
  };
}

function bounds(
  low: number | null,
  high: number | null,
  metric: { floor?: number; ceiling?: number },
  limit?: number,
): [number, number] {
  const bottom = Math.min(low ?? 0, metric.floor ?? low ?? 0);
  const top = Math.max(high ?? 1, metric.ceiling ?? high ?? 1, (limit ?? 0) * 1.15);
  const space = (top - bottom || Math.abs(top) || 1) * 0.06;
  return [metric.floor === bottom ? bottom : bottom - space, metric.ceiling === top ? top : top + space];
}

const clockLabels = (splits: number[]): string[] => {
  const step = (splits[1] ?? 60_000) - (splits[0] ?? 0);
  return splits.map((ts) => timeOfDay(ts, step < 60_000));
};

function readoutAt(plot: uPlot): Readout | undefined {
  const index = plot.cursor.idx;
  if (index === null || index === undefined || (plot.cursor.left ?? -1) < 0) return undefined;
  const [ts, ...columns] = plot.data;
  return { ts: ts[index] ?? 0, values: columns.map((column) => column[index]) };
}

function limitLine(limit: number, stroke: string): (plot: uPlot) => void {
  return ({ ctx, bbox, valToPos }) => {
    const y = Math.round(valToPos(limit, 'y', true)) + 0.5;
    if (y < bbox.top || y > bbox.top + bbox.height) return;
    ctx.save();
    ctx.strokeStyle = stroke;
    ctx.lineWidth = devicePixelRatio;
    ctx.setLineDash([5 * devicePixelRatio, 4 * devicePixelRatio]);
    ctx.beginPath();
    ctx.moveTo(bbox.left, y);
    ctx.lineTo(bbox.left + bbox.width, y);
    ctx.stroke();
    ctx.restore();
  };
}
