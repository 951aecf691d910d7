/**
 * Staying awake for a client that asks again at once. A thread that sleeps until the next request is woken by the
 * kernel, and on an idle processor that takes longer than a small model's run. So when the same connection asks within
 * `withinMs` of its last answer, the event loop turns without sleeping for as long after the next answers; timers, other
 * sockets and workers have their turns meanwhile. What comes every few milliseconds is never waited for so, nor is one
 * of several clients in turns: these keep the thread busy themselves, and what waits together is run together.
 */
import type { Millis } from '@skein/protocol/units.ts';

export interface LoopTurns {
  /** Monotonic. */
  now(): Millis;
  /** After the loop has looked for what came, once. */
  nextTurn(then: () => void): void;
}

/** Longer ago than any limit. */
const NEVER: Millis = Number.NEGATIVE_INFINITY;

export class BusyPoll {
  readonly #turns: LoopTurns;
  readonly #withinMs: Millis;
  /** Whose answer was the last. */
  #last: object | undefined;
  #answeredAt = NEVER;
  #askedAtOnce = false;
  #turning = false;

  /** @param withinMs 0: never */
  constructor(withinMs: Millis, turns: LoopTurns) {
    this.#withinMs = withinMs;
    this.#turns = turns;
  }

  #withinLimit = (): boolean => this.#turns.now() - this.#answeredAt < this.#withinMs;

  asked(client: object): void {
    this.#askedAtOnce = client === this.#last && this.#withinLimit();
    this.#answeredAt = NEVER;
  }

  answered(client: object): void {
    this.#last = client;
    this.#answeredAt = this.#turns.now();
    if (!this.#askedAtOnce || this.#turning) return;
    this.#turning = true;
    this.#turns.nextTurn(this.#turn);
  }

  #turn = (): void => {
    this.#turning = this.#withinLimit();
    if (this.#turning) this.#turns.nextTurn(this.#turn);
  };
}
