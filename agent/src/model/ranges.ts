/**
 * Value ranges seen in calibration. Extremes are exact; percentiles come from a bounded, evenly thinned sample
 * (every k-th value, k doubling when the sample is full), so the result does not depend on chance.
 */
const SAMPLE_SIZE = 1 << 18;

export class RangeCollector {
  min = Number.POSITIVE_INFINITY;
  max = Number.NEGATIVE_INFINITY;
  #sample = new Float32Array(4096);
  #kept = 0;
  #every = 1;
  #seen = 0;
  /** Per value of the last axis, for tensors of rank 2: is one column drowned by another's range? */
  #columns: { sum: Float64Array; squares: Float64Array } | undefined;
  #rows = 0;

  add(values: Float32Array, dims: readonly number[]): void {
    for (const value of values) {
      if (value < this.min) this.min = value;
      if (value > this.max) this.max = value;
      if (this.#seen++ % this.#every === 0) this.#keep(value);
    }
    if (dims.length === 2) this.#addColumns(values, dims[1]!);
  }

  #keep(value: number): void {
    if (this.#kept === this.#sample.length) {
      if (this.#kept >= SAMPLE_SIZE) {
        this.#kept >>= 1;
        for (let i = 0; i < this.#kept; i++) this.#sample[i] = this.#sample[2 * i]!;
        this.#every *= 2;
      } else {
        const larger = new Float32Array(this.#kept * 4);
        larger.set(this.#sample);
        this.#sample = larger;
      }
    }
    this.#sample[this.#kept++] = value;
  }

  #addColumns(values: Float32Array, width: number): void {
    this.#columns ??= { sum: new Float64Array(width), squares: new Float64Array(width) };
    const { sum, squares } = this.#columns;
    if (sum.length !== width) return;
    for (let i = 0; i < values.length; i++) {
      sum[i % width]! += values[i]!;
      squares[i % width]! += values[i]! ** 2;
    }
    this.#rows += values.length / width;
  }

  /** Both tails cut by (1 − keep) / 2; keep 1 gives the extremes. */
  range(keep: number): [number, number] {
    if (keep >= 1 || this.#kept === 0) return [this.min, this.max];
    const sorted = this.#sample.slice(0, this.#kept).sort();
    const cut = (1 - keep) / 2;
    const at = (q: number) =>
      sorted[Math.min(sorted.length - 1, Math.max(0, Math.round(q * (sorted.length - 1))))]!;
    return [at(cut), at(1 - cut)];
  }

  /** Share of varying columns whose standard deviation is smaller than one step of `range` in 8 bits. */
  drownedColumns(range: readonly [number, number]): number {
    const step = (range[1] - range[0]) / 255;
    if (!this.#columns || this.#rows < 2) return 0;
    let varying = 0;
    let drowned = 0;
    this.#columns.sum.forEach((sum, c) => {
      const mean = sum / this.#rows;
      const deviation = Math.sqrt(Math.max(0, this.#columns!.squares[c]! / this.#rows - mean * mean));
      if (deviation === 0) return;
      varying++;
      if (deviation < step) drowned++;
    });
    return varying === 0 ? 0 : drowned / varying;
  }
}

/** u8 asymmetric: real = (q − zero) · scale. Zero is always exactly representable. */
export interface ActivationScale {
  scale: number;
  zero: number;
}

export function activationScale([low, high]: readonly [number, number]): ActivationScale {
  const min = Math.min(0, Number.isFinite(low) ? low : 0);
  const max = Math.max(0, Number.isFinite(high) ? high : 0);
  const scale = Math.fround((max - min) / 255) || 1;
  return { scale, zero: Math.max(0, Math.min(255, Math.round(-min / scale))) };
}
