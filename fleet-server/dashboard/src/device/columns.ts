/** Stored history and live readings as the columns a plot takes: ascending, without repetition, bounded. Pure. */
import type { Series } from '@skein/protocol/api.ts';
import type { Reading } from '../data/live.ts';

export type Column = (number | null)[];

export interface History {
  ts: number[];
  values: Record<string, Column>;
}

/** The route never returns more, so neither is more kept. */
export const MAX_POINTS = 5000;

const USUAL_STEPS = 5;

export const historyOf = (series: Series): History => ({ ts: [...series.ts], values: { ...series.values } });

/**
 * Live readings that are newer than what is there; columns that a reading lacks get null. One that has none of the
 * columns is about something else and is left out.
 */
export function extended(history: History, readings: readonly Reading[], max = MAX_POINTS): History {
  const last = history.ts.at(-1) ?? Number.NEGATIVE_INFINITY;
  const names = Object.keys(history.values);
  const fresh = readings.filter(({ ts, values }) => ts > last && names.some((name) => name in values));
  if (fresh.length === 0) return history;
  const cut = Math.max(0, history.ts.length + fresh.length - max);
  const values = Object.fromEntries(
    Object.entries(history.values).map(([name, column]): [string, Column] => [
      name,
      [...column.slice(cut), ...fresh.map((reading) => reading.values[name] ?? null)],
    ]),
  );
  return { ts: [...history.ts.slice(cut), ...fresh.map((reading) => reading.ts)], values };
}

/**
 * A silence is shown as a gap: null where two points are further apart than five usual steps, and than `leastMs`,
 * which keeps stored points whole where denser live ones follow them.
 */
export function withGaps(
  ts: readonly number[],
  column: readonly (number | null)[],
  leastMs = 0,
): [number[], Column] {
  const usual = medianStep(ts);
  const outTs: number[] = [];
  const out: Column = [];
  ts.forEach((at, i) => {
    const before = ts[i - 1];
    if (before !== undefined && usual > 0 && at - before > Math.max(leastMs, USUAL_STEPS * usual)) {
      outTs.push(before + usual);
      out.push(null);
    }
    outTs.push(at);
    out.push(column[i] ?? null);
  });
  return [outTs, out];
}

function medianStep(ts: readonly number[]): number {
  const steps = ts.slice(1).map((at, i) => at - (ts[i] ?? at));
  return steps.sort((a, b) => a - b)[Math.floor(steps.length / 2)] ?? 0;
}
