/** What the charts of each model said last, and those of the model before it of the same readings. Pure. */
import type { DriftRecord } from '@skein/protocol/records.ts';

export type ChartVerdict = Exclude<DriftRecord['verdict'], 'not-enough-data'>;

export interface ModelVerdicts {
  /** undefined: no window of this version has been full yet. */
  drift: ChartVerdict | undefined;
  /** undefined: the model before has no charts, or no window of these readings was full. */
  formerDrift: ChartVerdict | undefined;
}

const SILENT: ModelVerdicts = { drift: undefined, formerDrift: undefined };

export class Verdicts {
  readonly #latest = new Map<string, { version: string; verdicts: ModelVerdicts }>();

  /** @param formerDrift what the charts of the model before say of the same readings */
  heard(
    { model, version, verdict: drift }: Pick<DriftRecord, 'model' | 'version' | 'verdict'>,
    formerDrift?: ChartVerdict,
  ): void {
    if (drift !== 'not-enough-data') this.#latest.set(model, { version, verdicts: { drift, formerDrift } });
  }

  of(model: string, version: string | undefined): ModelVerdicts {
    const latest = this.#latest.get(model);
    return latest !== undefined && latest.version === version ? latest.verdicts : SILENT;
  }
}
