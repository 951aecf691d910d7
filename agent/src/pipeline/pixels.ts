/** Decoded pictures, what bounds them, and the raw formats that need no decoder. Pure. */
import { SkeinError } from '@skein/protocol/errors.ts';
import { type Bytes, MIB } from '@skein/protocol/units.ts';
import type { Picture } from '../sources/port.ts';

/** 8-bit RGB, row-major, without padding: `data.length` is width × height × 3. */
export interface Pixels {
  width: number;
  height: number;
  channels: 3;
  data: Uint8Array;
}

/** Checked against what a picture says of itself, before anything is allocated for it. */
export interface PictureLimits {
  /** width × height. Decoding takes up to 20 bytes a pixel for a moment. */
  pixels: number;
  /** As it came, compressed or raw. */
  bytes: Bytes;
}

export const PICTURE_LIMITS: PictureLimits = { pixels: 2 ** 24, bytes: 64 * MIB };

/** No side may be longer, whatever the area: resizing keeps one row per row for a moment. */
const MAX_SIDE = 16_384;

export const invalid = (message: string, cause?: unknown) =>
  new SkeinError('IMAGE_INVALID', message, {
    fix: 'Give a whole JPEG or PNG, or raw frames of the size that was configured.',
    ...(cause === undefined ? {} : { cause }),
  });

const tooLarge = (message: string) =>
  new SkeinError('IMAGE_TOO_LARGE', message, {
    fix: 'Give smaller pictures: the model shrinks them anyway.',
  });

/** @throws SkeinError IMAGE_INVALID, IMAGE_TOO_LARGE */
export function checkSize(width: number, height: number, { pixels }: PictureLimits): void {
  if (!(Number.isInteger(width) && Number.isInteger(height) && width >= 1 && height >= 1)) {
    throw invalid(`a picture of ${width} × ${height} pixels has nothing in it`);
  }
  if (width > MAX_SIDE || height > MAX_SIDE || width * height > pixels) {
    const bound = `at most ${pixels} pixels and ${MAX_SIDE} a side are taken`;
    throw tooLarge(`the picture is ${width} × ${height}, ${bound}`);
  }
}

/** @throws SkeinError IMAGE_TOO_LARGE */
export function checkBytes({ bytes }: Picture, limits: PictureLimits): void {
  if (bytes.length <= limits.bytes) return;
  throw tooLarge(`the picture has ${bytes.length} bytes, at most ${limits.bytes} are taken`);
}

export type RawPicture = Extract<Picture, { width: number }>;

const half = (side: number): number => (side + 1) >> 1;

const bytesOf = ({ format, width, height }: RawPicture): Bytes => {
  const area = width * height;
  const each = {
    gray8: area,
    rgb24: 3 * area,
    rgba32: 4 * area,
    i420: area + 2 * half(width) * half(height),
  };
  return each[format];
};

/** Alpha is ignored. @throws SkeinError IMAGE_INVALID, IMAGE_TOO_LARGE */
export function rawPixels(picture: RawPicture, limits: PictureLimits): Pixels {
  const { format, width, height, bytes } = picture;
  checkSize(width, height, limits);
  const needed = bytesOf(picture);
  if (bytes.length !== needed) {
    throw invalid(`a ${format} frame of ${width} × ${height} has ${needed} bytes, not ${bytes.length}`);
  }
  return { width, height, channels: 3, data: rgbOf(picture) };
}

function rgbOf({ format, width, height, bytes }: RawPicture): Uint8Array {
  if (format === 'rgb24') return bytes;
  const rgb = new Uint8Array(width * height * 3);
  if (format === 'i420') fillFromYuv(rgb, bytes, width, height);
  else if (format === 'gray8') for (let i = 0; i < bytes.length; i++) rgb.fill(bytes[i]!, 3 * i, 3 * i + 3);
  else
    for (let from = 0, to = 0; from < bytes.length; from += 4) {
      rgb[to++] = bytes[from]!;
      rgb[to++] = bytes[from + 1]!;
      rgb[to++] = bytes[from + 2]!;
    }
  return rgb;
}

const clamp = (value: number): number => (value < 0 ? 0 : value > 255 ? 255 : value);

/** ITU-R BT.601, studio range (Y 16 to 235), what cameras and ffmpeg mean by yuv420p; 16-bit fixed point. */
function fillFromYuv(rgb: Uint8Array, yuv: Uint8Array, width: number, height: number): void {
  const wide = half(width);
  const uAt = width * height;
  const vAt = uAt + wide * half(height);
  for (let y = 0, to = 0; y < height; y++) {
    for (let x = 0; x < width; x++, to += 3) {
      const chroma = (y >> 1) * wide + (x >> 1);
      const luma = 76_309 * (yuv[y * width + x]! - 16) + 32_768;
      const u = yuv[uAt + chroma]! - 128;
      const v = yuv[vAt + chroma]! - 128;
      rgb[to] = clamp((luma + 104_597 * v) >> 16);
      rgb[to + 1] = clamp((luma - 25_675 * u - 53_279 * v) >> 16);
      rgb[to + 2] = clamp((luma + 132_201 * u) >> 16);
    }
  }
}
