/**
 * When a device tries its broker again: a pure decision on what the connections before came to.
 *
 * The ceiling doubles with each try, with full jitter below it, and begins anew only after a connection that outlasted
 * the ceiling it was waited for: a broker that takes everyone and falls over again is not met by the whole fleet at
 * once. Whoever shares this identity is not fought: each sign of another agent doubles a ceiling of its own, until a
 * connection lasted longer than the other may stay away.
 */
import type { Entropy } from '@skein/protocol/ports.ts';
import { HOUR, MINUTE, type Millis, SECOND } from '@skein/protocol/units.ts';
import { type BackoffPolicy, backoffMs, ceilingMs } from './backoff.ts';

/**
 * After an outage of any length a fleet comes back within a wait as long as the outage, at most the cap: 5,000 devices
 * in 5 minutes are 17 handshakes a second, which one core can do. A metered device pays for each try while nobody
 * answers (about 240 bytes of SYNs), and 520 of them a day would be more than its whole budget: it waits up to 15 min.
 */
export const RECONNECT = {
  lan: { baseMs: SECOND, capMs: 5 * MINUTE },
  metered: { baseMs: 5 * SECOND, capMs: 15 * MINUTE },
} as const satisfies Record<string, BackoffPolicy>;

/** Both agents of one identity then have their turn, a few times a day. */
export const CONTESTED: BackoffPolicy = { baseMs: 30 * SECOND, capMs: HOUR };
/** Longer alone than the other may wait: it is gone. */
export const UNCONTESTED_MS: Millis = 2 * CONTESTED.capMs;

/** However short the wait was. */
const STABLE_MS: Millis = 10 * SECOND;

export class Reconnect {
  readonly #policy: BackoffPolicy;
  readonly #entropy: Entropy;
  #attempt = 0;
  #ceiling: Millis = 0;
  #rivalries = 0;

  constructor(policy: BackoffPolicy, entropy: Entropy) {
    this.#policy = policy;
    this.#entropy = entropy;
  }

  /** @param lastedMs how long the connection that ended was of use; undefined: none came about. */
  waitMs(lastedMs?: Millis): Millis {
    if (lastedMs !== undefined && lastedMs >= Math.max(STABLE_MS, this.#ceiling)) this.#attempt = 0;
    if (lastedMs !== undefined && lastedMs >= UNCONTESTED_MS) this.#rivalries = 0;
    const own = backoffMs(this.#attempt, this.#entropy, this.#policy);
    this.#ceiling = ceilingMs(this.#attempt++, this.#policy);
    if (this.#rivalries === 0) return own;
    return Math.max(own, backoffMs(this.#rivalries, this.#entropy, CONTESTED));
  }

  /** The way out is another one: what failed over the old one says nothing. */
  moved(): void {
    this.#attempt = 0;
    this.#ceiling = 0;
  }

  /** Another agent has been connected under this identity since. */
  contested(): void {
    this.#rivalries++;
  }
}
