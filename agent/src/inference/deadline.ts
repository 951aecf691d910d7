/**
 * One timer for many deadlines: setting a timer for every inference would cost more than the answer's way back.
 * It stays armed for the earliest deadline it ever heard of and looks again when that has come, so a busy queue sets a
 * timer once per time limit, not once per request.
 */
import type { Clock, Timer } from '@skein/protocol/ports.ts';
import type { Millis } from '@skein/protocol/units.ts';

export class Deadline {
  readonly #clock: Clock;
  readonly #expire: (now: Millis) => Millis | undefined;
  #timer: Timer | undefined;
  #armedFor: Millis = Number.POSITIVE_INFINITY;

  /** @param expire handles what is due at `now`, monotonic; returns the next deadline, if any. */
  constructor(clock: Clock, expire: (now: Millis) => Millis | undefined) {
    this.#clock = clock;
    this.#expire = expire;
  }

  /** `expire` is called at `deadline` or, harmlessly, before. */
  watch(deadline: Millis): void {
    if (this.#armedFor <= deadline || deadline === Number.POSITIVE_INFINITY) return;
    this.#timer?.cancel();
    this.#armedFor = deadline;
    this.#timer = this.#clock.after(Math.max(1, deadline - this.#clock.mono()), () => this.#look());
  }

  #look(): void {
    this.stop();
    const next = this.#expire(this.#clock.mono());
    if (next !== undefined) this.watch(next);
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#armedFor = Number.POSITIVE_INFINITY;
  }
}
