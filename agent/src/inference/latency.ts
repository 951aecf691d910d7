/**
 * Quantiles of latencies in constant memory: a histogram whose bins grow by 2^(1/8) (9% wide) from 1 µs to 17 minutes.
 * A quantile is the upper edge of its bin, so it is never understated.
 */
import type { ProbationStats } from '../update/ports.ts';

const PER_OCTAVE = 8;
const BINS = 30 * PER_OCTAVE;

const binOf = (us: number): number => Math.min(BINS - 1, us <= 1 ? 0 : Math.ceil(Math.log2(us) * PER_OCTAVE));

export class LatencyHistogram {
  readonly #counts = new Uint32Array(BINS);
  #total = 0;

  add(us: number): void {
    this.#counts[binOf(us)]!++;
    this.#total++;
  }

  /** 0 when nothing was added. */
  quantile(q: number): number {
    return this.#atRank(Math.ceil(q * this.#total));
  }

  /**
   * The 95th percentile, but never the single largest of few: below 20 that would be one moment in which the scheduler
   * ran something else.
   */
  p95(): number {
    return this.#atRank(Math.max(1, Math.min(Math.ceil(0.95 * this.#total), this.#total - 1)));
  }

  #atRank(rank: number): number {
    let seen = 0;
    for (let bin = 0; bin < BINS && rank > 0; bin++) {
      seen += this.#counts[bin]!;
      if (seen >= rank) return 2 ** (bin / PER_OCTAVE);
    }
    return 0;
  }
}

/** What probation judges a model by, since its activation. */
export class RunStats {
  readonly #latency = new LatencyHistogram();
  #inferences = 0;
  #errors = 0;
  #notFinite = 0;

  succeeded(latencyUs: number, finite: boolean): void {
    this.#inferences++;
    if (!finite) this.#notFinite++;
    this.#latency.add(latencyUs);
  }

  failed(): void {
    this.#inferences++;
    this.#errors++;
  }

  snapshot(): ProbationStats {
    return {
      inferences: this.#inferences,
      errors: this.#errors,
      notFinite: this.#notFinite,
      p95LatencyUs: this.#latency.p95(),
    };
  }
}
