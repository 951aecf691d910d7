/**
 * How far one model's outputs are from another's, output by output, sample by sample in constant memory. Pure.
 * SQNR = 10 log10(Σ expected² / Σ (expected − found)²), dB, within ±200 (200: equal).
 */
import type { Tensors } from '../inference/backend.ts';

/** Silence and equality have no logarithm. */
const MOST_DB = 200;

export interface OutputComparison {
  name: string;
  /** null for outputs that are not floating point. */
  sqnrDb: number | null;
  /** Share of rows (last axis) with the same largest value; of equal values for integers; null for single numbers. */
  agreement: number | null;
}

export interface Comparison {
  /** Of the worst output. */
  sqnrDb: number;
  /** Of the worst output that has one; 1 when none has. */
  agreement: number;
  samples: number;
  outputs: OutputComparison[];
}

export function top(values: ArrayLike<number>, from: number, width: number): number {
  let best = from;
  for (let i = from + 1; i < from + width; i++) if (values[i]! > values[best]!) best = i;
  return best - from;
}

export function decibels(signal: number, noise: number): number {
  if (noise === 0) return MOST_DB;
  if (!(signal > 0)) return -MOST_DB;
  const value = 10 * Math.log10(signal / noise);
  return Number.isNaN(value) ? -MOST_DB : Math.max(-MOST_DB, Math.min(MOST_DB, value));
}

class Tally {
  #signal = 0;
  #noise = 0;
  #rows = 0;
  #agree = 0;
  #float = false;

  floats(a: ArrayLike<number>, b: ArrayLike<number>, width: number): void {
    this.#float = true;
    for (let k = 0; k < a.length; k++) {
      this.#signal += a[k]! ** 2;
      // What is equal is equal, infinities as well.
      if (a[k] !== b[k]) this.#noise += (a[k]! - b[k]!) ** 2;
    }
    if (width < 2) return;
    for (let row = 0; row + width <= a.length; row += width) {
      this.#rows++;
      if (top(a, row, width) === top(b, row, width)) this.#agree++;
    }
  }

  integers(a: ArrayLike<unknown>, b: ArrayLike<unknown>): void {
    this.#rows += a.length;
    for (let k = 0; k < a.length; k++) if (a[k] === b[k]) this.#agree++;
  }

  result(name: string): OutputComparison {
    const agreement = this.#rows === 0 ? null : this.#agree / this.#rows;
    return { name, sqnrDb: this.#float ? decibels(this.#signal, this.#noise) : null, agreement };
  }
}

export class Comparer {
  readonly #tallies = new Map<string, Tally>();
  #samples = 0;

  add(expected: Tensors, found: Tensors): void {
    this.#samples++;
    for (const [name, { data, dims }] of Object.entries(expected)) {
      const tally = this.#tallies.get(name) ?? new Tally();
      this.#tallies.set(name, tally);
      const other = found[name]!.data;
      // A shape that depends on the values (boxes that passed a threshold) is compared as far as both go.
      const same = Math.min(data.length, other.length);
      if (data instanceof Float32Array || data instanceof Float64Array)
        tally.floats(data.subarray(0, same), other as Float32Array, dims.at(-1) ?? 1);
      else tally.integers(data as ArrayLike<unknown>, other as ArrayLike<unknown>);
    }
  }

  result(): Comparison {
    const outputs = [...this.#tallies].map(([name, tally]) => tally.result(name));
    return {
      sqnrDb: Math.min(MOST_DB, ...outputs.flatMap(({ sqnrDb }) => sqnrDb ?? [])),
      agreement: Math.min(1, ...outputs.flatMap(({ agreement }) => agreement ?? [])),
      samples: this.#samples,
      outputs,
    };
  }
}

export function compareOutputs(expected: readonly Tensors[], found: readonly Tensors[]): Comparison {
  const comparer = new Comparer();
  expected.forEach((tensors, i) => {
    comparer.add(tensors, found[i]!);
  });
  return comparer.result();
}
