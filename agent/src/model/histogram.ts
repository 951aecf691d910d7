/**
 * Values seen in calibration, in constant memory: exact extremes and 4,096 equal bins over [−2^k, 2^k), k just large
 * enough. When a value lies beyond, neighbouring bins are merged, so the outcome does not depend on the order. Pure.
 */
export const BINS = 4096;
const HALF = BINS / 2;
/** Ranges below this are zero for our purpose (a dead tensor). */
const LEAST_EXPONENT = -100;

export class Histogram {
  min = Number.POSITIVE_INFINITY;
  max = Number.NEGATIVE_INFINITY;
  /** Finite values seen. */
  count = 0;
  /** NaN and infinities; they are in no bin. */
  notFinite = 0;
  #bins = new Float64Array(BINS);
  #exponent = LEAST_EXPONENT;

  add(values: Float32Array): void {
    this.#extend(values);
    const bins = this.#bins;
    const perUnit = HALF / 2 ** this.#exponent;
    for (let i = 0; i < values.length; i++) {
      const value = values[i]!;
      if (value - value !== 0) continue;
      bins[Math.min(BINS - 1, Math.floor(value * perUnit) + HALF)]!++;
    }
  }

  /** Extremes first, so that all values of one batch fall into the same bins. */
  #extend(values: Float32Array): void {
    let { min, max } = this;
    let bad = 0;
    for (let i = 0; i < values.length; i++) {
      const value = values[i]!;
      if (value - value !== 0) bad++;
      else {
        if (value < min) min = value;
        if (value > max) max = value;
      }
    }
    Object.assign(this, { min, max });
    this.notFinite += bad;
    this.count += values.length - bad;
    while (Math.max(-min, max) > 2 ** this.#exponent) this.#widen();
  }

  #widen(): void {
    this.#exponent++;
    if (this.count === 0) return;
    const wider = new Float64Array(BINS);
    for (let i = 0; i < BINS; i++) wider[(i >> 1) + HALF / 2]! += this.#bins[i]!;
    this.#bins = wider;
  }

  /** Value at the lower edge of a bin. */
  edge(bin: number): number {
    return (bin - HALF) * (2 ** this.#exponent / HALF);
  }

  /** Bins from the one that holds the least value to the one that holds the largest, both included. */
  get used(): { from: number; to: number; counts: Float64Array } {
    const at = (value: number) =>
      Math.max(0, Math.min(BINS - 1, Math.floor(value * (HALF / 2 ** this.#exponent)) + HALF));
    return this.count === 0
      ? { from: HALF, to: HALF, counts: this.#bins }
      : { from: at(this.min), to: at(this.max), counts: this.#bins };
  }

  /** Value below which the share `q` lies, to within a bin. */
  quantile(q: number): number {
    if (this.count === 0) return 0;
    const { from, to, counts } = this.used;
    const wanted = q * this.count;
    let below = 0;
    for (let bin = from; bin <= to; bin++) {
      const next = below + counts[bin]!;
      if (next >= wanted) {
        const inside = counts[bin]! > 0 ? (wanted - below) / counts[bin]! : 0;
        const value = this.edge(bin) + inside * (this.edge(bin + 1) - this.edge(bin));
        return Math.max(this.min, Math.min(this.max, value));
      }
      below = next;
    }
    return this.max;
  }
}
