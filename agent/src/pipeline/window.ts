/**
 * Rows of features to windows, oldest first. Memory is one window, whatever the stream's length.
 * With `edge` padding the first row stands for those before it, so the first window comes with the first reading.
 * A window spans no pause longer than `maxGapMs`: the row after it is a first one.
 */
import type { FeaturePreprocess } from '@skein/protocol/manifest.ts';
import type { Millis } from '@skein/protocol/units.ts';

export class RowWindow {
  readonly #size: number;
  readonly #stride: number;
  readonly #padded: boolean;
  readonly #maxGapMs: Millis;
  #rows: Float32Array[] = [];
  #untilNext = 0;
  #lastMs: Millis | undefined;

  constructor(window: FeaturePreprocess['window']) {
    this.#size = window.size;
    this.#stride = window.stride;
    this.#padded = window.padding === 'edge';
    this.#maxGapMs = window.maxGapMs ?? Number.POSITIVE_INFINITY;
  }

  /**
   * Takes the row (it is kept). Returns size × features values, row-major, when a window is due.
   * @param atMs when it was read, on a clock that is never set back; absent: right after the one before
   */
  push(row: Float32Array, atMs: Millis | undefined = this.#lastMs): Float32Array | undefined {
    if (atMs !== undefined && this.#lastMs !== undefined && atMs - this.#lastMs > this.#maxGapMs)
      this.#restart();
    this.#lastMs = atMs;
    if (this.#padded && this.#rows.length === 0) this.#rows = new Array(this.#size - 1).fill(row);
    this.#rows.push(row);
    if (this.#rows.length > this.#size) this.#rows.shift();
    if (this.#rows.length < this.#size) return undefined;
    if (this.#untilNext > 0) {
      this.#untilNext--;
      return undefined;
    }
    this.#untilNext = this.#stride - 1;
    const flat = new Float32Array(this.#size * row.length);
    this.#rows.forEach((kept, i) => {
      flat.set(kept, i * row.length);
    });
    return flat;
  }

  #restart(): void {
    this.#rows = [];
    this.#untilNext = 0;
  }
}
