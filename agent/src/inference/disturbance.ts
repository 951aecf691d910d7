/**
 * How often work that nobody waits for may touch work that somebody waits for.
 *
 * A share of processor time does not bound a percentile: a challenger that runs a tenth of the time can lie on top of every
 * reading. So the readings that it may have slowed are counted, and it begins only while they are at most one in
 * {@link EVERY}: then the 95th percentile of all readings is at worst the 96th of those left alone. Touched is a reading
 * that ran while the other did, and the first after it within {@link COLD_MS}, which finds the caches full of strange
 * weights. Whose readings are further apart is never touched, and pays nothing.
 */
import type { Millis } from '@skein/protocol/units.ts';

/** One touched reading in so many. */
const EVERY = 100;
/** Between readings this far apart the caches are lost to the rest of the machine anyway. */
const COLD_MS: Millis = 1_000;

export class Disturbance {
  /** Readings to be left alone before the next piece of work. */
  #owed = 0;
  #running = false;
  #endedAt: Millis = Number.NEGATIVE_INFINITY;
  #first = false;

  get allowed(): boolean {
    return this.#owed <= 0;
  }

  begin(): void {
    this.#running = true;
  }

  end(now: Millis): void {
    this.#running = false;
    this.#endedAt = now;
    this.#first = true;
  }

  /** One reading was answered; times are monotonic. */
  reading(startedAt: Millis): void {
    if (this.#touches(startedAt)) this.#owed += EVERY;
    else if (this.#owed > 0) this.#owed--;
    if (!this.#running) this.#first = false;
  }

  #touches(startedAt: Millis): boolean {
    if (this.#running || startedAt < this.#endedAt) return true;
    return this.#first && startedAt - this.#endedAt < COLD_MS;
  }
}
