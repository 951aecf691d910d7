/**
 * The device's bandwidth, one schedule for all its downloads. Bytes are paid for before they are asked for, in slices of
 * half a second: what is on the wire never runs ahead of the cap by more than a slice, and a download of n bytes takes
 * n / rate from its start. A link that stalled may catch up by {@link CREDIT_MS} and no more.
 */
import type { Clock } from '@skein/protocol/ports.ts';
import { type Bytes, KIB, MIB, type Millis } from '@skein/protocol/units.ts';

/** Bytes a second; undefined: as fast as it comes. */
export type Rate = Bytes | undefined;

const SLICE_MS: Millis = 500;
/** Below it the headers of a request would cost more than a hundredth. */
const SLICE_MIN: Bytes = 64 * KIB;
const SLICE_MAX: Bytes = 4 * MIB;
const CREDIT_MS: Millis = 1_000;
/** A wait is cut so that nobody who gave up is waited for. */
const NAP_MS: Millis = 1_000;

export const lowerRate = (a: Rate, b: Rate): Rate =>
  a === undefined ? b : b === undefined ? a : Math.min(a, b);

/** How much to ask for at once under `rate`. */
export const sliceOf = (rate: Bytes): Bytes =>
  Math.min(SLICE_MAX, Math.max(SLICE_MIN, Math.round((rate * SLICE_MS) / 1_000)));

export class RateCap {
  readonly #clock: Clock;
  /** When all that was taken so far is paid for, monotonic. */
  #paidAt: Millis = Number.NEGATIVE_INFINITY;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Resolves when `bytes` may be asked for; early when `stop` says that nobody wants them any more. */
  async take(bytes: Bytes, rate: Bytes, stop: () => boolean): Promise<void> {
    const now = this.#clock.mono();
    // The first of a series owes nothing for the time before it; a late one may catch up a little.
    const from = now - this.#paidAt > 10 * CREDIT_MS ? now : Math.max(this.#paidAt, now - CREDIT_MS);
    const due = from + (bytes / rate) * 1_000;
    this.#paidAt = due;
    while (!stop()) {
      const left = due - this.#clock.mono();
      if (left <= 0) return;
      await rest(this.#clock, Math.min(left, NAP_MS));
    }
  }
}

export const rest = (clock: Clock, delayMs: Millis): Promise<void> =>
  new Promise((done) => void clock.after(delayMs, done));
