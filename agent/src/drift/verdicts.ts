/** What the charts of each model said last, for whoever has to judge it. Pure. */
import type { DriftRecord } from '@skein/protocol/records.ts';

export type ChartVerdict = Exclude<DriftRecord['verdict'], 'not-enough-data'>;

export class Verdicts {
  readonly #latest = new Map<string, { version: string; verdict: ChartVerdict }>();

  heard({ model, version, verdict }: Pick<DriftRecord, 'model' | 'version' | 'verdict'>): void {
    if (verdict !== 'not-enough-data') this.#latest.set(model, { version, verdict });
  }

  /** undefined: no window of this version has been full yet. */
  of(model: string, version: string | undefined): ChartVerdict | undefined {
    const latest = this.#latest.get(model);
    return latest?.version === version ? latest?.verdict : undefined;
  }
}
