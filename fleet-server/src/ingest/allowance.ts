/**
 * What one device may take of the server: a token bucket of batches and one of bytes. It may always finish what it
 * began (a batch is taken while both are above zero, and may overdraw them), so no batch is too large to ever pass.
 */
import type { Bytes, Millis } from '@skein/protocol/units.ts';

export interface Rates {
  batchesPerSecond: number;
  bytesPerSecond: Bytes;
}

/** A bucket holds so many seconds of its rate: what a device may send at once after it was quiet. */
export const BURST_SECONDS = 4;
/** An overdraft ends: however much rubbish came, the device is heard again after so long. */
const MAX_DEBT_SECONDS = 10;

export interface Allowance {
  /** Milliseconds until it may send again; 0: now. */
  waitMs(now: Millis): Millis;
  spend(batches: number, bytes: Bytes, now: Millis): void;
  /** It could be forgotten: a new one would say the same. */
  full(now: Millis): boolean;
}

/** @param now monotonic, as in every call */
export function createAllowance(rates: Rates, now: Millis): Allowance {
  const buckets = [
    createBucket(rates.batchesPerSecond, now),
    createBucket(rates.bytesPerSecond, now),
  ] as const;
  return {
    waitMs: (at) => Math.max(...buckets.map((bucket) => bucket.waitMs(at))),
    spend(batches, bytes, at) {
      buckets[0].spend(batches, at);
      buckets[1].spend(bytes, at);
    },
    full: (at) => buckets.every((bucket) => bucket.full(at)),
  };
}

function createBucket(perSecond: number, start: Millis) {
  const most = perSecond * BURST_SECONDS;
  const least = -perSecond * MAX_DEBT_SECONDS;
  let left = most;
  let at = start;
  const settle = (now: Millis): number => {
    left = Math.min(most, left + ((now - at) * perSecond) / 1000);
    at = now;
    return left;
  };
  return {
    waitMs: (now: Millis): Millis => (settle(now) > 0 ? 0 : Math.ceil((-left * 1000) / perSecond) + 1),
    spend: (amount: number, now: Millis): void => {
      left = Math.max(least, settle(now) - amount);
    },
    full: (now: Millis): boolean => settle(now) >= most,
  };
}
