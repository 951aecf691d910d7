/**
 * Spread of each column of what a model reads raw, and what eight bits over all of them would do to a layer. Raw
 * sensor values differ by orders of magnitude: one range for all drowns the small columns in the steps of the large
 * ones, and a layer trained on them has large weights just there. Pure.
 */
export class Columns {
  readonly width: number;
  #rows = 0;
  readonly #mean: Float64Array;
  readonly #squares: Float64Array;
  #min = 0;
  #max = 0;

  constructor(width: number) {
    this.width = width;
    this.#mean = new Float64Array(width);
    this.#squares = new Float64Array(width);
  }

  /** @param inner values between one column and the next: 1 for rows of features, height × width for planes. */
  add(values: Float32Array, inner: number): void {
    for (let i = 0; i < values.length; i++) {
      const value = values[i]!;
      const column = Math.floor(i / inner) % this.width;
      // Welford's update: large means must not swallow small deviations.
      const row = this.#rows + Math.floor(i / (inner * this.width)) * inner + (i % inner) + 1;
      const away = value - this.#mean[column]!;
      this.#mean[column]! += away / row;
      this.#squares[column]! += away * (value - this.#mean[column]!);
      if (value < this.#min) this.#min = value;
      if (value > this.#max) this.#max = value;
    }
    this.#rows += values.length / this.width;
  }

  /**
   * Signal to noise that rounding this input to one 8-bit range leaves in the layer's sums, dB: each column counts
   * with its squared weight, so a small column with large weights is missed as it should be. Constant columns carry
   * no signal. Infinity when nothing varies.
   * @param weights squared weight of each column, summed over the layer's outputs
   */
  signalDb(weights: Float64Array): number {
    const noise = ((this.#max - this.#min) / 255) ** 2 / 12;
    let signal = 0;
    let lost = 0;
    this.#squares.forEach((squares, column) => {
      const variance = squares / Math.max(1, this.#rows);
      if (variance === 0) return;
      signal += weights[column]! * variance;
      lost += weights[column]! * noise;
    });
    return lost === 0 ? Number.POSITIVE_INFINITY : 10 * Math.log10(signal / lost);
  }
}
