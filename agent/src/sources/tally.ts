/** What a source delivers, counted while it is tried: rate, size and how long a reading takes to become a prediction. */
import type { PredictionRecord } from '@skein/protocol/records.ts';
import type { Millis } from '@skein/protocol/units.ts';
import type { Reading } from './port.ts';

/** Latencies kept: the latest. */
const KEPT = 4_096;
/** Features shown. */
const SHOWN = 8;

export interface TallyReport {
  seconds: number;
  readings: number;
  /** What came and was no reading. */
  bad: number;
  /** Left out because the model was slower. */
  dropped: number;
  /** Readings a second since the first. */
  perSecond: number;
  /** Of a reading on average: values, or bytes of a picture. */
  size: { of: 'values' | 'bytes'; mean: number } | null;
  /** From the source's stamp to the prediction; null without a model. */
  latencyMs: { p50: number; p95: number; max: number } | null;
  predictions: number;
  latest: { values: Record<string, number> | null; picture: string | null } | null;
  prediction: Pick<PredictionRecord, 'version' | 'label' | 'score' | 'alarm'> | null;
  /** The latest thing that went wrong, and what to do about it where that is known. */
  problem: { message: string; fix: string | null } | null;
}

export class Tally {
  readonly #startedMono: Millis;
  readonly #latencies: Millis[] = [];
  #firstMono: Millis | undefined;
  #latestMono: Millis = 0;
  #readings = 0;
  #size = 0;
  #predictions = 0;
  #latest: Reading | undefined;
  #record: PredictionRecord | undefined;
  bad = 0;
  problem: TallyReport['problem'] = null;

  constructor(mono: Millis) {
    this.#startedMono = mono;
  }

  reading(reading: Reading): void {
    this.#readings++;
    this.#firstMono ??= reading.mono;
    this.#latestMono = reading.mono;
    this.#latest = reading;
    this.#size += reading.picture ? reading.picture.bytes.length : Object.keys(reading.values).length;
  }

  prediction(record: PredictionRecord, mono: Millis): void {
    this.#latencies[this.#predictions++ % KEPT] = mono - record.mono;
    this.#record = record;
  }

  report(mono: Millis, dropped: number): TallyReport {
    const seconds = (mono - this.#startedMono) / 1000;
    return {
      seconds: round(seconds, 1),
      readings: this.#readings,
      bad: this.bad,
      dropped,
      perSecond: round(this.#rate(), 2),
      size: this.#latest
        ? { of: this.#latest.picture ? 'bytes' : 'values', mean: round(this.#size / this.#readings, 1) }
        : null,
      latencyMs: this.#latency(),
      predictions: this.#predictions,
      latest: this.#latest ? latestOf(this.#latest) : null,
      prediction: this.#record ? predictionOf(this.#record) : null,
      problem: this.problem,
    };
  }

  /** Between the first reading and the latest: what came before and after was waiting. */
  #rate(): number {
    const spent = (this.#latestMono - (this.#firstMono ?? 0)) / 1000;
    return this.#readings > 1 && spent > 0 ? (this.#readings - 1) / spent : 0;
  }

  #latency(): TallyReport['latencyMs'] {
    const sorted = this.#latencies.toSorted((a, b) => a - b);
    if (sorted.length === 0) return null;
    const at = (share: number) => round(sorted[Math.ceil(share * sorted.length) - 1]!, 2);
    return { p50: at(0.5), p95: at(0.95), max: at(1) };
  }
}

const round = (value: number, digits: number): number => Number(value.toFixed(digits));

const predictionOf = ({ version, label, score, alarm }: PredictionRecord) => ({
  version,
  label,
  score,
  alarm,
});

function latestOf({ picture, values }: Reading): NonNullable<TallyReport['latest']> {
  if (!picture) return { values: Object.fromEntries(Object.entries(values).slice(0, SHOWN)), picture: null };
  const size = 'width' in picture ? ` ${picture.width} × ${picture.height}` : '';
  return { values: null, picture: `${picture.format}${size}, ${picture.bytes.length} bytes` };
}
