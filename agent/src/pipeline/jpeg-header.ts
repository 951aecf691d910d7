/**
 * What a JPEG says of itself, read before a decoder sees it: its size, and whether it is of the kind that we decode.
 * Segments are `FF marker length16 …`; after a start of scan come coded bytes in which FF is followed by 00 or RSTn
 * (ITU-T T.81, annex B). Pure.
 */
import { invalid } from './pixels.ts';

export interface JpegHeader {
  width: number;
  height: number;
  /** Progressive files have about ten; each costs a pass over all coefficients. */
  scans: number;
}

/** More scans than this are no picture but work for the decoder. */
const MAX_SCANS = 100;

const SOI = 0xd8;
const EOI = 0xd9;
const SOS = 0xda;
const KINDS: Readonly<Record<number, string>> = {
  192: 'baseline',
  193: 'extended',
  194: 'progressive',
  195: 'lossless',
  201: 'arithmetic-coded',
  202: 'arithmetic-coded',
};
const DECODED = [0xc0, 0xc1, 0xc2];
const isFrame = (marker: number): boolean =>
  marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc;

const word = (bytes: Uint8Array, at: number): number => ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);

function frameOf(bytes: Uint8Array, at: number, marker: number): { width: number; height: number } {
  if (at + 8 > bytes.length) throw invalid('the JPEG ends within its header');
  if (!DECODED.includes(marker)) {
    throw invalid(
      `a ${KINDS[marker] ?? 'hierarchical'} JPEG is not decoded; baseline and progressive ones are`,
    );
  }
  const precision = bytes[at + 2]!;
  if (precision !== 8) throw invalid(`a JPEG of ${precision} bits a sample is not decoded, only of 8`);
  const components = bytes[at + 7]!;
  if (components === 4) throw invalid('a CMYK JPEG has no colours of a screen; convert it to RGB');
  if (components !== 1 && components !== 3)
    throw invalid(`a JPEG of ${components} components is not decoded`);
  return { width: word(bytes, at + 5), height: word(bytes, at + 3) };
}

/** The first FF that begins a marker, from `at` on; the end if there is none. */
function nextMarker(bytes: Uint8Array, from: number): number {
  for (let at = from; ; at++) {
    at = bytes.indexOf(0xff, at);
    if (at < 0 || at + 1 >= bytes.length) return bytes.length;
    const marker = bytes[at + 1]!;
    if (marker !== 0 && marker !== 0xff && !(marker >= 0xd0 && marker <= 0xd7)) return at;
  }
}

/** @throws SkeinError IMAGE_INVALID with the reason */
export function jpegHeader(bytes: Uint8Array): JpegHeader {
  if (bytes[0] !== 0xff || bytes[1] !== SOI) throw invalid('not a JPEG: it does not begin with FF D8');
  let frame: { width: number; height: number } | undefined;
  let scans = 0;
  for (let at = nextMarker(bytes, 2); at < bytes.length; ) {
    const marker = bytes[at + 1]!;
    if (marker === EOI) break;
    if (isFrame(marker)) {
      if (frame) throw invalid('the JPEG has two frames in one');
      frame = frameOf(bytes, at + 2, marker);
    }
    if (marker === SOS && ++scans > MAX_SCANS) throw invalid(`the JPEG has more than ${MAX_SCANS} scans`);
    at = nextMarker(bytes, at + 2 + Math.max(2, word(bytes, at + 2)));
  }
  if (!frame) throw invalid('the JPEG has no frame header');
  if (frame.height === 0) throw invalid('the JPEG does not say how high it is');
  return { ...frame, scans };
}
