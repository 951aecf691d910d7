/**
 * Separable resampling of 8-bit RGB, bit for bit what Pillow 9 does for NEAREST, BILINEAR and BOX (`area`): horizontal
 * pass first, weights in 22-bit fixed point, rounded to 8 bits after each pass. Pure.
 *
 * Only a window of the resized picture is made, so a crop costs what it shows. Memory: one row of the window's width
 * per source row that it needs.
 */
import type { ImagePreprocess } from '@skein/protocol/manifest.ts';
import type { Pixels } from './pixels.ts';

export type Filter = ImagePreprocess['resize']['filter'];

/** Along one axis: `length` results from `start` on, of a source of `from` samples resized to `to`. */
export interface Axis {
  from: number;
  to: number;
  start: number;
  length: number;
}

const PRECISION = 22;
const HALF = 1 << (PRECISION - 1);

interface Kernel {
  support: number;
  weight(distance: number): number;
}

const KERNELS: Record<Exclude<Filter, 'nearest'>, Kernel> = {
  bilinear: { support: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) },
  area: { support: 0.5, weight: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) },
};

/** Per result: its first source sample, how many follow, and their weights (`taps` apart). */
interface Weights {
  first: Int32Array;
  count: Int32Array;
  taps: number;
  values: Int32Array;
}

/** `precompute_coeffs` and `normalize_coeffs_8bpc` of Pillow’s Resample.c. */
function weightsOf(axis: Axis, { support, weight }: Kernel): Weights {
  const scale = axis.from / axis.to;
  const stretch = Math.max(1, scale);
  const reach = support * stretch;
  const taps = Math.ceil(reach) * 2 + 1;
  const first = new Int32Array(axis.length);
  const count = new Int32Array(axis.length);
  const values = new Int32Array(axis.length * taps);
  const plain = new Float64Array(taps);
  for (let i = 0; i < axis.length; i++) {
    const centre = (axis.start + i + 0.5) * scale;
    const low = Math.max(0, Math.trunc(centre - reach + 0.5));
    const n = Math.min(axis.from, Math.trunc(centre + reach + 0.5)) - low;
    let sum = 0;
    for (let k = 0; k < n; k++) {
      plain[k] = weight((k + low - centre + 0.5) * (1 / stretch));
      sum += plain[k]!;
    }
    first[i] = low;
    count[i] = n;
    for (let k = 0; k < n; k++) {
      const share = sum === 0 ? plain[k]! : plain[k]! / sum;
      values[i * taps + k] = Math.trunc(0.5 + share * (1 << PRECISION));
    }
  }
  return { first, count, taps, values };
}

/** Weights are not negative and sum to about 2^22, so 255 × their sum stays within 31 bits: integer arithmetic. */
const rounded = (sum: number): number => {
  const value = sum >> PRECISION;
  return value > 255 ? 255 : value;
};

function horizontal({ width, data }: Pixels, weights: Weights, top: number, rows: number): Uint8Array {
  const { first, count, taps, values } = weights;
  const out = new Uint8Array(rows * first.length * 3);
  let to = 0;
  for (let y = 0; y < rows; y++) {
    const row = (top + y) * width * 3;
    for (let x = 0; x < first.length; x++) {
      let red = HALF;
      let green = HALF;
      let blue = HALF;
      let at = row + first[x]! * 3;
      const last = x * taps + count[x]!;
      for (let k = x * taps; k < last; k++, at += 3) {
        const share = values[k]!;
        red = (red + Math.imul(share, data[at]!)) | 0;
        green = (green + Math.imul(share, data[at + 1]!)) | 0;
        blue = (blue + Math.imul(share, data[at + 2]!)) | 0;
      }
      out[to++] = rounded(red);
      out[to++] = rounded(green);
      out[to++] = rounded(blue);
    }
  }
  return out;
}

/** @param top the source row that `data` begins with. */
function vertical(data: Uint8Array, rowBytes: number, weights: Weights, top: number): Uint8Array {
  const { first, count, taps, values } = weights;
  const out = new Uint8Array(first.length * rowBytes);
  const sums = new Int32Array(rowBytes);
  for (let y = 0; y < first.length; y++) {
    sums.fill(HALF);
    for (let k = 0; k < count[y]!; k++) {
      const share = values[y * taps + k]!;
      const row = (first[y]! + k - top) * rowBytes;
      for (let x = 0; x < rowBytes; x++) sums[x] = (sums[x]! + Math.imul(share, data[row + x]!)) | 0;
    }
    for (let x = 0; x < rowBytes; x++) out[y * rowBytes + x] = rounded(sums[x]!);
  }
  return out;
}

/** Source samples of nearest neighbours; the position is added up as Pillow’s affine transform does. */
function nearestOf({ from, to, start, length }: Axis): Int32Array {
  const scale = from / to;
  const found = new Int32Array(length);
  let position = scale * 0.5;
  for (let i = 0; i < start + length; i++, position += scale) {
    if (i >= start) found[i - start] = Math.min(from - 1, Math.trunc(position));
  }
  return found;
}

function nearest({ width, data }: Pixels, across: Axis, down: Axis): Uint8Array {
  const columns = nearestOf(across);
  const out = new Uint8Array(across.length * down.length * 3);
  let to = 0;
  for (const row of nearestOf(down)) {
    for (const column of columns) {
      const at = (row * width + column) * 3;
      out[to++] = data[at]!;
      out[to++] = data[at + 1]!;
      out[to++] = data[at + 2]!;
    }
  }
  return out;
}

const isWhole = ({ from, to, length }: Axis): boolean => from === to && length === to;

/** The window `across` × `down` of `pixels` resized to `across.to` × `down.to`: RGB, row-major. */
export function resample(pixels: Pixels, across: Axis, down: Axis, filter: Filter): Uint8Array {
  if (isWhole(across) && isWhole(down)) return pixels.data;
  if (filter === 'nearest') return nearest(pixels, across, down);
  const rows = weightsOf(down, KERNELS[filter]);
  const top = rows.first[0]!;
  const bottom = rows.first.at(-1)! + rows.count.at(-1)!;
  const narrow = horizontal(pixels, weightsOf(across, KERNELS[filter]), top, bottom - top);
  return vertical(narrow, across.length * 3, rows, top);
}
