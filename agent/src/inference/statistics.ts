/**
 * What one loaded model has done, as Triton's statistics extension counts it
 * (github.com/triton-inference-server/server, docs/protocol/extension_statistics.md), whose words are kept here.
 *
 * Times of a request are those of the run it shared, so a sum over requests exceeds what the model was busy for;
 * `batch_stats` counts each run once. Counting touches typed arrays only: no allocation, tens of nanoseconds.
 * `batch_stats` is bounded: sizes to 64 are exact, larger ones share a row under the next power of two.
 */
import type { Millis } from '@skein/protocol/units.ts';

/** Cumulative since the model was loaded. */
export interface DurationStatistic {
  count: number;
  ns: number;
}

export interface BatchStatistic {
  batch_size: number;
  compute_input: DurationStatistic;
  compute_infer: DurationStatistic;
  compute_output: DurationStatistic;
}

export interface InferenceStatistics {
  /** Milliseconds of wall clock; 0: none yet. */
  last_inference: Millis;
  /** Rows of all answered requests. */
  inference_count: number;
  /** Runs of the model: less than the requests when they share runs. */
  execution_count: number;
  inference_stats: {
    success: DurationStatistic;
    fail: DurationStatistic;
    queue: DurationStatistic;
    compute_input: DurationStatistic;
    compute_infer: DurationStatistic;
    compute_output: DurationStatistic;
    /** There is no response cache; clients look for the fields. */
    cache_hit: DurationStatistic;
    cache_miss: DurationStatistic;
  };
  batch_stats: BatchStatistic[];
}

interface ComputeTimes {
  inputUs: number;
  inferUs: number;
  outputUs: number;
}

const EXACT_SIZES = 64;
const EXACT_BITS = Math.log2(EXACT_SIZES);
const SIZES = EXACT_SIZES + 31 - EXACT_BITS;
/** Columns of a batch size's row. */
const COLUMNS = { runs: 0, input: 1, infer: 2, output: 3 } as const;
const WIDTH = 4;

const sizeIndex = (size: number): number => {
  if (size <= EXACT_SIZES) return Math.max(0, size - 1);
  return EXACT_SIZES + Math.min(31 - EXACT_BITS, 32 - Math.clz32(size - 1) - EXACT_BITS) - 1;
};
const sizeAt = (index: number): number =>
  index < EXACT_SIZES ? index + 1 : 2 ** (index - EXACT_SIZES + 1 + EXACT_BITS);

const TOTALS = {
  last: 0,
  rows: 1,
  succeeded: 2,
  totalUs: 3,
  failed: 4,
  failedUs: 5,
  queueUs: 6,
  inputUs: 7,
  inferUs: 8,
  outputUs: 9,
  executions: 10,
} as const;

const duration = (count: number, us: number): DurationStatistic => ({ count, ns: Math.round(us * 1000) });

export class ModelStatistics {
  readonly #totals = new Float64Array(Object.keys(TOTALS).length);
  readonly #sizes = new Float64Array(SIZES * WIDTH);

  /** Answered. @param request times of the run it shared, microseconds. @param at wall clock */
  requestSucceeded(
    request: ComputeTimes & { queueUs: number; totalUs: number },
    rows: number,
    at: Millis,
  ): void {
    const totals = this.#totals;
    totals[TOTALS.succeeded]! += 1;
    totals[TOTALS.rows]! += rows;
    totals[TOTALS.totalUs]! += request.totalUs;
    totals[TOTALS.queueUs]! += request.queueUs;
    totals[TOTALS.inputUs]! += request.inputUs;
    totals[TOTALS.inferUs]! += request.inferUs;
    totals[TOTALS.outputUs]! += request.outputUs;
    totals[TOTALS.last] = at;
  }

  /** Refused, too late, or the run failed. Its waiting is in `fail`: `queue` is that of answered requests. */
  requestFailed({ totalUs }: { queueUs: number; totalUs: number }): void {
    this.#totals[TOTALS.failed]! += 1;
    this.#totals[TOTALS.failedUs]! += totalUs;
  }

  /** The model ran once. @param run `batchSize` rows of all its requests */
  executed(run: ComputeTimes & { batchSize: number }): void {
    this.#totals[TOTALS.executions]! += 1;
    const row = sizeIndex(run.batchSize) * WIDTH;
    this.#sizes[row + COLUMNS.runs]! += 1;
    this.#sizes[row + COLUMNS.input]! += run.inputUs;
    this.#sizes[row + COLUMNS.infer]! += run.inferUs;
    this.#sizes[row + COLUMNS.output]! += run.outputUs;
  }

  snapshot(): InferenceStatistics {
    const of = (name: keyof typeof TOTALS): number => this.#totals[TOTALS[name]]!;
    const answered = (us: number): DurationStatistic => duration(of('succeeded'), us);
    return {
      last_inference: of('last'),
      inference_count: of('rows'),
      execution_count: of('executions'),
      inference_stats: {
        success: answered(of('totalUs')),
        fail: duration(of('failed'), of('failedUs')),
        queue: answered(of('queueUs')),
        compute_input: answered(of('inputUs')),
        compute_infer: answered(of('inferUs')),
        compute_output: answered(of('outputUs')),
        cache_hit: duration(0, 0),
        cache_miss: duration(0, 0),
      },
      batch_stats: this.#batches(),
    };
  }

  #batches(): BatchStatistic[] {
    const batches: BatchStatistic[] = [];
    for (let index = 0; index < SIZES; index++) {
      const [runs, input, infer, output] = this.#sizes.subarray(index * WIDTH, (index + 1) * WIDTH);
      if (!runs) continue;
      batches.push({
        batch_size: sizeAt(index),
        compute_input: duration(runs, input!),
        compute_infer: duration(runs, infer!),
        compute_output: duration(runs, output!),
      });
    }
    return batches;
  }
}
