/** What is still to be fetched for a set of blobs, from which byte, and how long to wait after a failure. */
import type { Bytes, Millis, Sha256Hex } from '@skein/protocol/units.ts';

export interface BlobSize {
  sha256: Sha256Hex;
  size: Bytes;
}

/** What is on disk: all of it, or an intact prefix of `part` bytes. */
export interface OnDisk {
  complete: boolean;
  part: Bytes;
}

export interface DownloadPlan {
  /** In order; a blob named twice is fetched once. `offset` = `size`: only the finishing is left. */
  steps: { sha256: Sha256Hex; size: Bytes; offset: Bytes }[];
  totalBytes: Bytes;
  doneBytes: Bytes;
}

export function planDownload(
  blobs: readonly BlobSize[],
  onDisk: (sha256: Sha256Hex) => OnDisk,
): DownloadPlan {
  const plan: DownloadPlan = { steps: [], totalBytes: 0, doneBytes: 0 };
  const unique = new Map(blobs.map((blob) => [blob.sha256, blob.size]));
  for (const [sha256, size] of unique) {
    const { complete, part } = onDisk(sha256);
    // A part longer than the blob can not be a prefix of it.
    const offset = part <= size ? part : 0;
    plan.totalBytes += size;
    plan.doneBytes += complete ? size : offset;
    if (!complete) plan.steps.push({ sha256, size, offset });
  }
  return plan;
}

const FIRST_MS = 1_000;
const LONGEST_MS = 300_000;

/**
 * Exponential backoff with jitter: half of min(5 min, 1 s · 2^(attempt−1)), plus up to as much again.
 * @param attempt failures so far, from 1
 * @param random uniform in [0, 1)
 */
export function retryDelayMs(attempt: number, random: number): Millis {
  const ceiling = Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(30, Math.max(0, attempt - 1)));
  return Math.round(ceiling / 2 + (ceiling / 2) * random);
}

/** A fraction in [0, 1) from four random bytes. */
export const fractionOf = (bytes: Uint8Array): number =>
  new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0) / 2 ** 32;
