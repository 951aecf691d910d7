/**
 * Quantiles of latencies in constant memory: a histogram whose bins grow by 2^(1/8) (9% wide) from 1 µs to 17 minutes.
 * A quantile is the upper edge of its bin, so it is never understated.
 */
import { evidenceAbove } from '@skein/protocol/drift/evidence.ts';
import type { ProbationStats } from '../update/ports.ts';

/** One in a thousand models may be called slow that is not. */
const SURE = 1_000;
/**
 * One run of so many bears witness. Runs in a row meet the same busy machine, so each of them is no evidence of its own:
 * seconds in which something else ran made a good model slow beyond doubt.
 */
const WITNESS_EVERY = 5;

const PER_OCTAVE = 8;
const BINS = 30 * PER_OCTAVE;
const BIN_WIDTH = 2 ** (1 / PER_OCTAVE);

const binOf = (us: number): number => Math.min(BINS - 1, us <= 1 ? 0 : Math.ceil(Math.log2(us) * PER_OCTAVE));

export class LatencyHistogram {
  readonly #counts = new Uint32Array(BINS);
  #total = 0;

  add(us: number): void {
    this.#counts[binOf(us)]!++;
    this.#total++;
  }

  get total(): number {
    return this.#total;
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

  /** What more than one in twenty surely exceed: so many do that it is no chance ({@link evidenceAbove}). 0 while too few are known. */
  p95AtLeast(): number {
    const count = this.#surelyMore();
    return count > this.#total ? 0 : this.#atRank(this.#total - count + 1) / BIN_WIDTH;
  }

  /** How many of all it takes to be sure that they are more than one in twenty; more than all: they are too few. */
  #surelyMore(): number {
    let [least, most] = [1, this.#total + 1];
    while (least < most) {
      const middle = (least + most) >> 1;
      if (evidenceAbove(middle, this.#total, 0.05) >= SURE) most = middle;
      else least = middle + 1;
    }
    return least;
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
  /** Of each {@link WITNESS_EVERY}th run. */
  readonly #witnesses = new LatencyHistogram();
  #inferences = 0;
  #errors = 0;
  #notFinite = 0;

  succeeded(latencyUs: number, finite: boolean): void {
    this.#inferences++;
    if (!finite) this.#notFinite++;
    this.#latency.add(latencyUs);
    if (this.#latency.total % WITNESS_EVERY === 0) this.#witnesses.add(latencyUs);
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
      p95AtLeastUs: this.#witnesses.p95AtLeast(),
    };
  }
}
