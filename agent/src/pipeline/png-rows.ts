/**
 * Inflated PNG bytes to RGB: rows of a filter byte and samples, of one picture or of Adam7's seven (ISO/IEC 15948,
 * 7 to 9). 16-bit samples keep their high byte; alpha and transparent colours are ignored, as Pillow's
 * `convert('RGB')` does. Pure.
 */
import type { Bytes } from '@skein/protocol/units.ts';
import { invalid } from './pixels.ts';
import { CHANNELS, type PngHeader } from './png-chunks.ts';

interface Pass {
  /** First column and row, and the steps between. */
  x: number;
  y: number;
  dx: number;
  dy: number;
  width: number;
  height: number;
}

const ADAM7: readonly (readonly [number, number, number, number])[] = [
  [0, 0, 8, 8],
  [4, 0, 8, 8],
  [0, 4, 4, 8],
  [2, 0, 4, 4],
  [0, 2, 2, 4],
  [1, 0, 2, 2],
  [0, 1, 1, 2],
];

function passesOf({ width, height, interlaced }: PngHeader): Pass[] {
  if (!interlaced) return [{ x: 0, y: 0, dx: 1, dy: 1, width, height }];
  return ADAM7.map(([x, y, dx, dy]) => ({
    ...{ x, y, dx, dy },
    width: Math.ceil((width - x) / dx),
    height: Math.ceil((height - y) / dy),
  })).filter((pass) => pass.width > 0 && pass.height > 0);
}

const rowBytes = (header: PngHeader, width: number): Bytes =>
  Math.ceil((width * CHANNELS[header.colour] * header.depth) / 8);

/** Exactly what the compressed data must inflate to. */
export const inflatedBytes = (header: PngHeader): Bytes =>
  passesOf(header).reduce((sum, { width, height }) => sum + (1 + rowBytes(header, width)) * height, 0);

const paeth = (a: number, b: number, c: number): number => {
  const toA = Math.abs(b - c);
  const toB = Math.abs(a - c);
  const toC = Math.abs(a + b - c - c);
  return toA <= toB && toA <= toC ? a : toB <= toC ? b : c;
};

/** Undoes one row's filter in place. `above` is undone already; zeros before the first row. */
function unfilter(filter: number, row: Uint8Array, above: Uint8Array, step: Bytes): void {
  const n = row.length;
  switch (filter) {
    case 0:
      return;
    case 1:
      for (let i = step; i < n; i++) row[i]! += row[i - step]!;
      return;
    case 2:
      for (let i = 0; i < n; i++) row[i]! += above[i]!;
      return;
    case 3:
      for (let i = 0; i < step && i < n; i++) row[i]! += above[i]! >> 1;
      for (let i = step; i < n; i++) row[i]! += (row[i - step]! + above[i]!) >> 1;
      return;
    case 4:
      for (let i = 0; i < step && i < n; i++) row[i]! += above[i]!;
      for (let i = step; i < n; i++) row[i]! += paeth(row[i - step]!, above[i]!, above[i - step]!);
      return;
    default:
      throw invalid(`the PNG has a row of filter ${filter}, which no PNG has`);
  }
}

/** Sample `i` of a row as 8 bits, palette indices as they are. */
function samplerOf({ depth, colour }: PngHeader): (row: Uint8Array, i: number) => number {
  if (depth === 8) return (row, i) => row[i]!;
  if (depth === 16) return (row, i) => row[2 * i]!;
  const most = (1 << depth) - 1;
  const factor = colour === 3 ? 1 : 255 / most;
  const each = 8 / depth;
  return (row, i) => ((row[Math.floor(i / each)]! >> (8 - depth * (1 + (i % each)))) & most) * factor;
}

/** Writes one row's pixels to where they belong in `rgb`. */
type Painter = (row: Uint8Array, pass: Pass, y: number) => void;

function painterOf(header: PngHeader, palette: Uint8Array, rgb: Uint8Array): Painter {
  const { width, colour, depth, interlaced } = header;
  if (colour === 2 && depth === 8 && !interlaced) return (row, _pass, y) => rgb.set(row, y * width * 3);
  const sample = samplerOf(header);
  const channels = CHANNELS[colour];
  const coloured = colour === 2 || colour === 6;
  return (row, pass, y) => {
    let to = ((pass.y + y * pass.dy) * width + pass.x) * 3;
    for (let x = 0; x < pass.width; x++, to += 3 * pass.dx) {
      const first = sample(row, x * channels);
      for (let c = 0; c < 3; c++) {
        rgb[to + c] =
          colour === 3 ? palette[first * 3 + c]! : coloured ? sample(row, x * channels + c) : first;
      }
    }
  };
}

/** @param inflated is used up: filters are undone in place. @throws SkeinError IMAGE_INVALID */
export function pngPixels(header: PngHeader, palette: Uint8Array, inflated: Uint8Array): Uint8Array {
  if (header.colour === 3 && palette.length < 3) throw invalid('the PNG has no palette for its colours');
  const rgb = new Uint8Array(header.width * header.height * 3);
  const paint = painterOf(header, palette, rgb);
  const step = Math.max(1, (CHANNELS[header.colour] * header.depth) >> 3);
  let at = 0;
  for (const pass of passesOf(header)) {
    const bytes = rowBytes(header, pass.width);
    let above: Uint8Array = new Uint8Array(bytes);
    for (let y = 0; y < pass.height; y++, at += 1 + bytes) {
      const row = inflated.subarray(at + 1, at + 1 + bytes);
      unfilter(inflated[at]!, row, above, step);
      paint(row, pass, y);
      above = row;
    }
  }
  return rgb;
}
