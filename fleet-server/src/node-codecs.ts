/** Of node:zlib: raw deflate, twenty times faster than the portable one and bounded by itself, and zstd (from 22.15). */
import * as zlib from 'node:zlib';
import type { Codecs, InflateRaw } from '@skein/protocol/batch/body.ts';
import { SkeinError } from '@skein/protocol/errors.ts';

/** @throws SkeinError BATCH_INVALID, or what zlib says about bytes that are not deflate or inflate to more */
const inflate: InflateRaw = (deflated, size, dictionary) => {
  const bounded = { maxOutputLength: size, ...(dictionary ? { dictionary } : {}) };
  const inflated = zlib.inflateRawSync(deflated, bounded);
  if (inflated.length === size) return inflated;
  throw new SkeinError('BATCH_INVALID', 'sealed batch: the body inflates to less than it states');
};

export const nativeCodecs: Codecs = {
  inflate,
  ...(typeof zlib.zstdDecompressSync === 'function'
    ? {
        zstd: {
          compress: (bytes) => zlib.zstdCompressSync(bytes),
          decompress: (bytes, maxOutputLength) => zlib.zstdDecompressSync(bytes, { maxOutputLength }),
        },
      }
    : {}),
};
