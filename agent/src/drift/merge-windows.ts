/**
 * Fewer, larger drift records for a link that is paid by the byte: windows of one model are added up and told every
 * {@link WindowMerger.everyMs}, and at once when drift begins, so that nobody waits for an alarm. Counts are
 * integers, so nothing is lost by adding; the extremes keep four significant digits. A record bears the number and the
 * time of its last window. What is held is lost in a power cut, like readings between two commits.
 */
import { type ChartCounts, mergeCounts } from '@skein/protocol/drift/counts.ts';
import type { DriftRecord } from '@skein/protocol/records.ts';
import type { Millis } from '@skein/protocol/units.ts';

const DIGITS = 4;

interface Held {
  since: Millis;
  record: DriftRecord;
}

export class WindowMerger {
  readonly everyMs: Millis;
  readonly #held = new Map<string, Held>();
  readonly #told = new Map<string, DriftRecord['verdict']>();

  /** @param everyMs 0: each window by itself */
  constructor(everyMs: Millis) {
    this.everyMs = everyMs;
  }

  /** What is to be recorded now, oldest first. */
  take(window: DriftRecord): DriftRecord[] {
    if (this.everyMs === 0) return [window];
    const { model } = window;
    const before = this.#held.get(model);
    const fits = before && sameCharts(before.record, window);
    const due = before && !fits ? [this.#release(model)] : [];
    const since = fits ? before.since : window.mono;
    this.#held.set(model, { since, record: fits ? merged(before.record, window) : window });
    const told = this.#told.get(model);
    const changed = told === undefined || (told !== 'drift' && window.verdict === 'drift');
    return changed || window.mono - since >= this.everyMs ? [...due, this.#release(model)] : due;
  }

  /** All that is held, for a clean stop. */
  flush(): DriftRecord[] {
    return [...this.#held.keys()].map((model) => this.#release(model));
  }

  #release(model: string): DriftRecord {
    const { record } = this.#held.get(model)!;
    this.#held.delete(model);
    this.#told.set(model, record.verdict);
    return { ...record, charts: record.charts.map(rounded) };
  }
}

const sameCharts = (a: DriftRecord, b: DriftRecord): boolean =>
  a.version === b.version && a.profile === b.profile && a.boot === b.boot;

const merged = (before: DriftRecord, window: DriftRecord): DriftRecord => ({
  ...window,
  n: before.n + window.n,
  charts: window.charts.map((chart, i) => mergeCounts(before.charts[i]!, chart)),
});

const rounded = (chart: ChartCounts): ChartCounts => ({
  ...chart,
  min: chart.min === null ? null : Number(chart.min.toPrecision(DIGITS)),
  max: chart.max === null ? null : Number(chart.max.toPrecision(DIGITS)),
});
