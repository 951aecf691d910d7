/**
 * Rows of features to windows, oldest first. Memory is one window, whatever the stream's length.
 * With `edge` padding the first row stands for those before it, so the first window comes with the first reading.
 */
import type { Preprocess } from '@skein/protocol/manifest.ts';

export class RowWindow {
  readonly #size: number;
  readonly #stride: number;
  readonly #padded: boolean;
  #rows: Float32Array[] = [];
  #untilNext = 0;

  constructor(window: Preprocess['window']) {
    this.#size = window.size;
    this.#stride = window.stride;
    this.#padded = window.padding === 'edge';
  }

  /** Takes the row (it is kept). Returns size × features values, row-major, when a window is due. */
  push(row: Float32Array): Float32Array | undefined {
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
}
