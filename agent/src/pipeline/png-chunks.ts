/**
 * The chunks of a PNG (ISO/IEC 15948): `length32 type data crc32`. Header and sizes are checked before anything is
 * inflated, so the memory of what follows is known. Pure; inflating and checksums are handed in.
 */
import { invalid } from './pixels.ts';

export interface PngHeader {
  width: number;
  height: number;
  /** Bits a sample. */
  depth: number;
  colour: keyof typeof CHANNELS;
  interlaced: boolean;
}

export interface PngChunks {
  header: PngHeader;
  /** RGB triples; empty without a palette. */
  palette: Uint8Array;
  /** Compressed, in order. */
  data: Uint8Array[];
}

/** Samples a pixel by colour type: gray, RGB, palette, gray and alpha, RGBA. */
export const CHANNELS = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 } as const;
const DEPTHS: Record<PngHeader['colour'], readonly number[]> = {
  0: [1, 2, 4, 8, 16],
  2: [8, 16],
  3: [1, 2, 4, 8],
  4: [8, 16],
  6: [8, 16],
};

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
/** libpng writes chunks of 8 KiB and more. */
const MAX_CHUNKS = 50_000;

const uint32 = (bytes: Uint8Array, at: number): number =>
  ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;

/** @throws SkeinError IMAGE_INVALID */
export function pngHeader(bytes: Uint8Array): PngHeader {
  if (SIGNATURE.some((byte, i) => bytes[i] !== byte)) throw invalid('not a PNG: its signature is missing');
  if (bytes.length < 33 || uint32(bytes, 8) !== 13 || typeAt(bytes, 12) !== 'IHDR') {
    throw invalid('the PNG does not begin with its header');
  }
  const [depth, colour, compression, filter, interlace] = bytes.subarray(24, 29);
  const known = DEPTHS[colour as PngHeader['colour']]?.includes(depth!);
  if (!known) throw invalid(`the PNG has ${depth} bits of colour type ${colour}, which no PNG has`);
  if (compression !== 0 || filter !== 0 || interlace! > 1)
    throw invalid('the PNG is coded in an unknown way');
  return {
    width: uint32(bytes, 16),
    height: uint32(bytes, 20),
    depth: depth!,
    colour: colour as PngHeader['colour'],
    interlaced: interlace === 1,
  };
}

const typeAt = (bytes: Uint8Array, at: number): string => String.fromCharCode(...bytes.subarray(at, at + 4));

/** @param crc32 of type and data. @throws SkeinError IMAGE_INVALID */
export function pngChunks(bytes: Uint8Array, crc32: (data: Uint8Array) => number): PngChunks {
  const chunks: PngChunks = { header: pngHeader(bytes), palette: new Uint8Array(), data: [] };
  let at = 8;
  for (let n = 0; n < MAX_CHUNKS; n++) {
    const length = at + 12 <= bytes.length ? uint32(bytes, at) : Number.POSITIVE_INFINITY;
    if (at + 12 + length > bytes.length) throw invalid('the PNG ends too early');
    const type = typeAt(bytes, at + 4);
    if (crc32(bytes.subarray(at + 4, at + 8 + length)) !== uint32(bytes, at + 8 + length)) {
      throw invalid(`the ${type} chunk of the PNG is damaged`);
    }
    const data = bytes.subarray(at + 8, at + 8 + length);
    if (type === 'PLTE') chunks.palette = data;
    if (type === 'IDAT') chunks.data.push(data);
    if (type === 'IEND') return chunks;
    at += 12 + length;
  }
  throw invalid(`the PNG has more than ${MAX_CHUNKS} chunks`);
}
