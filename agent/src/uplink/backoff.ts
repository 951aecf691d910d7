/**
 * Exponential backoff with full jitter: uniform in (0, min(cap, base · 2^attempt)], so that a fleet that lost its
 * broker does not come back as one. (Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.)
 */
import type { Entropy } from '@skein/protocol/ports.ts';
import { MINUTE, type Millis, SECOND } from '@skein/protocol/units.ts';

export interface BackoffPolicy {
  baseMs: Millis;
  capMs: Millis;
}

/** The longest wait before try number `attempt`. */
export const ceilingMs = (attempt: number, { baseMs, capMs }: BackoffPolicy): Millis =>
  Math.min(capMs, baseMs * 2 ** Math.min(attempt, 30));

/** The wait before try number `attempt` (0: the first repetition). At least a twentieth of the base. */
export const backoffMs = (attempt: number, entropy: Entropy, policy: BackoffPolicy): Millis =>
  Math.max(policy.baseMs / 20, ceilingMs(attempt, policy) * uniform(entropy));

const HALF: BackoffPolicy = { baseMs: SECOND / 2, capMs: MINUTE / 2 };

/** Before a program is started again: from half of 1 s, 2 s, 4 s … 60 s to all of it, so that none starts in a rush. */
export const restartDelayMs = (attempt: number, entropy: Entropy): Millis =>
  Math.min(HALF.capMs, HALF.baseMs * 2 ** Math.min(attempt, 16)) + backoffMs(attempt, entropy, HALF);

/** In (0, 1]. */
function uniform(entropy: Entropy): number {
  const [a, b, c, d] = entropy.bytes(4) as unknown as [number, number, number, number];
  return (((a << 24) | (b << 16) | (c << 8) | d) >>> 0) / 2 ** 32 + 2 ** -32;
}
