import type { Bytes, Sha256Hex } from '@skein/protocol/units.ts';

/** Content-addressed storage. A blob is immutable and complete, or absent. */
export interface Blobs {
  sizeOf(sha256: Sha256Hex): Promise<Bytes | undefined>;
  /** Bytes [start, end), as a stream. */
  read(sha256: Sha256Hex, start?: Bytes, end?: Bytes): AsyncIterable<Uint8Array>;
  /** Streams in, hashes, fsyncs, renames. @throws SkeinError BLOB_MISMATCH, BLOB_TOO_LARGE, DISK_FULL */
  write(sha256: Sha256Hex, bytes: AsyncIterable<Uint8Array>, maxBytes: Bytes): Promise<Bytes>;
}
