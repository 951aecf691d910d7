/** zstd of this Node (22.15 and later), if it has it. */
import * as zlib from 'node:zlib';
import type { Zstd } from '@skein/protocol/batch/body.ts';

/** The strongest level below those that take tens of megabytes for their tables. */
const LEVEL = 15;

export const nativeZstd: Zstd | undefined =
  typeof zlib.zstdCompressSync === 'function'
    ? {
        compress: (bytes) =>
          zlib.zstdCompressSync(bytes, {
            params: {
              [zlib.constants.ZSTD_c_compressionLevel]: LEVEL,
              [zlib.constants.ZSTD_c_checksumFlag]: 0,
            },
          }),
        decompress: (bytes, maxOutputLength) => zlib.zstdDecompressSync(bytes, { maxOutputLength }),
      }
    : undefined;
