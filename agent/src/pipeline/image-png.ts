/** PNG by Node's own zlib, native and bounded: not a byte more is inflated than the header's picture has. */
import { crc32, inflateSync } from 'node:zlib';
import { type Bytes, MIB } from '@skein/protocol/units.ts';
import { checkSize, invalid, type PictureLimits, type Pixels } from './pixels.ts';
import { pngChunks, pngHeader } from './png-chunks.ts';
import { inflatedBytes, pngPixels } from './png-rows.ts';

/** Inflated at a time: few large pieces are joined faster, and a small file can not claim much more. */
const CHUNK: Bytes = MIB;

function inflated(data: readonly Uint8Array[], size: number): Uint8Array {
  let bytes: Uint8Array;
  try {
    const chunkSize = Math.max(64, Math.min(size, CHUNK));
    bytes = inflateSync(Buffer.concat(data), { maxOutputLength: size, chunkSize });
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    const more = code === 'ERR_BUFFER_TOO_LARGE';
    throw invalid(more ? 'the PNG holds more than its size says' : `the PNG is damaged: ${message}`, cause);
  }
  if (bytes.length < size) throw invalid('the PNG holds less than its size says');
  return bytes;
}

/** @throws SkeinError IMAGE_INVALID, IMAGE_TOO_LARGE */
export function decodePng(bytes: Uint8Array, limits: PictureLimits): Pixels {
  const { width, height } = pngHeader(bytes);
  checkSize(width, height, limits);
  const { header, palette, data } = pngChunks(bytes, crc32);
  const rgb = pngPixels(header, palette, inflated(data, inflatedBytes(header)));
  return { width, height, channels: 3, data: rgb };
}
