/**
 * A share of one processor core for work that nobody waits for. Time earns credit, work spends it, and work may start
 * while there is credit: a long piece of work makes a debt that is paid before the next. Idle time earns at most a second
 * ahead, so a quiet hour does not become a busy minute.
 */
import type { Clock } from '@skein/protocol/ports.ts';
import type { Millis } from '@skein/protocol/units.ts';

const AHEAD_MS: Millis = 1_000;

export class CpuBudget {
  readonly #clock: Pick<Clock, 'mono'>;
  readonly #share: number;
  #creditMs: Millis;
  #earnedUntil: Millis;

  /** @param share of one core, above 0; 0.2 is a fifth of its time. */
  constructor(share: number, clock: Pick<Clock, 'mono'>) {
    this.#share = share;
    this.#clock = clock;
    this.#creditMs = share * AHEAD_MS;
    this.#earnedUntil = clock.mono();
  }

  get available(): boolean {
    const now = this.#clock.mono();
    const earned = this.#creditMs + (now - this.#earnedUntil) * this.#share;
    this.#creditMs = Math.min(earned, this.#share * AHEAD_MS);
    this.#earnedUntil = now;
    return this.#creditMs > 0;
  }

  spend(ms: Millis): void {
    this.#creditMs -= ms;
  }
}
