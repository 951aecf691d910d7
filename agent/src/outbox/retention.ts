/**
 * What a stream gives up when it reaches its cap, oldest first: batches kept for a restored server, then sealed
 * ones that were never acknowledged, then records that were not even sealed. Only the last two lose anything.
 */
import type { Bytes, Millis } from '@skein/protocol/units.ts';

export interface Holding {
  /** Sizes, oldest first. */
  kept: readonly Bytes[];
  pending: readonly Bytes[];
  unsealed: readonly Bytes[];
}

/** How many of each to remove, from the oldest on. */
export interface Drops {
  kept: number;
  pending: number;
  unsealed: number;
}

/** The fewest removals, in that order, after which the stream fits its cap. */
export function planDrops(holding: Holding, capBytes: Bytes): Drops {
  const sum = (sizes: readonly Bytes[]): Bytes => sizes.reduce((total, size) => total + size, 0);
  let excess = sum(holding.kept) + sum(holding.pending) + sum(holding.unsealed) - capBytes;
  const take = (sizes: readonly Bytes[]): number => {
    let count = 0;
    while (excess > 0 && count < sizes.length) excess -= sizes[count++]!;
    return count;
  };
  return { kept: take(holding.kept), pending: take(holding.pending), unsealed: take(holding.unsealed) };
}

/** Delivered batches are kept this long for a server that is restored from a backup. */
export const KEEP_DELIVERED_MS: Millis = 24 * 3_600_000;
