/**
 * The time that ages are judged by. A server's clock may begin in 1970 or step for a moment; whatever came in that moment would
 * look weeks old afterwards and be removed, or all the rest would while it lasts. So a step is believed once it has
 * lasted: {@link FORWARD_MS} forward, {@link BACK_MS} back; until then the time before it goes on with the monotonic clock. Pure.
 */
import type { Clock } from '@skein/protocol/ports.ts';
import { DAY, HOUR, MINUTE, type Millis } from '@skein/protocol/units.ts';

export const FORWARD_MS: Millis = HOUR;
export const BACK_MS: Millis = DAY;
/** Less is no step: clocks are set right little by little, and machines are busy. */
const STEP_MS: Millis = MINUTE;

export class SteadyTime {
  readonly #clock: Pick<Clock, 'now' | 'mono'>;
  #at: Millis;
  #atMono: Millis;
  #step: { gap: Millis; sinceMono: Millis } | undefined;

  /** @param known what it said last, before a restart; undefined: the clock is believed */
  constructor(clock: Pick<Clock, 'now' | 'mono'>, known?: Millis) {
    this.#clock = clock;
    this.#at = known ?? clock.now();
    this.#atMono = clock.mono();
  }

  now(): Millis {
    const [wall, mono] = [this.#clock.now(), this.#clock.mono()];
    const steady = this.#at + (mono - this.#atMono);
    const gap = wall - steady;
    return Math.abs(gap) <= STEP_MS || this.#hasLasted(gap, mono) ? this.#believe(wall, mono) : steady;
  }

  /** When something comes: never earlier than it may be, so that it is not removed too soon. */
  arrival(): Millis {
    return Math.max(this.#clock.now(), this.now());
  }

  /** By which something may be old: never later than it may be. */
  ofAges(): Millis {
    return Math.min(this.#clock.now(), this.now());
  }

  #hasLasted(gap: Millis, mono: Millis): boolean {
    if (!this.#step || Math.abs(gap - this.#step.gap) > STEP_MS) this.#step = { gap, sinceMono: mono };
    return mono - this.#step.sinceMono >= (gap > 0 ? FORWARD_MS : BACK_MS);
  }

  #believe(wall: Millis, mono: Millis): Millis {
    [this.#at, this.#atMono, this.#step] = [wall, mono, undefined];
    return wall;
  }
}
