/**
 * The judge of a new model's first inferences on the device. Rules, in this order:
 * 1. any output that is not finite reverts;
 * 2. errors revert once the rate is above the limit even if all inferences still owed succeed;
 * 3. before `minMs` or with fewer than `minInferences` successes it continues, at `deadlineMs` it stays `unproven`;
 * 4. p95 above both `maxLatencyRatio` × the previous model's own p95 and the scheduler's noise reverts; else it commits.
 */
import { LATENCY_NOISE_US, type ProbationPolicy } from '@skein/protocol/orders.ts';
import type { Millis } from '@skein/protocol/units.ts';
import type { ProbationStats } from './ports.ts';

export type Judgement =
  | { verdict: 'continue' | 'commit' | 'unproven' }
  | { verdict: 'revert'; code: string; detail: string };

/** `stats.inferences` counts all attempts. `previousP95Us` null: there is nothing to compare with. */
export function judgeProbation(
  policy: ProbationPolicy,
  stats: ProbationStats,
  elapsedMs: Millis,
  previousP95Us: number | null,
): Judgement {
  if (stats.notFinite > 0) {
    return revert('MODEL_OUTPUT_NOT_FINITE', `${stats.notFinite} outputs were NaN or infinite`);
  }
  const { inferences, errors } = stats;
  const succeeded = inferences - errors;
  const owed = Math.max(succeeded, policy.minInferences) + errors;
  if (errors / owed > policy.maxErrorRate) {
    return revert('PROBATION_ERRORS', `${errors} of ${inferences} inferences failed`);
  }
  if (succeeded < policy.minInferences) {
    return { verdict: elapsedMs >= policy.deadlineMs ? 'unproven' : 'continue' };
  }
  if (elapsedMs < policy.minMs) return { verdict: 'continue' };
  return judgeLatency(policy, stats.p95LatencyUs, previousP95Us);
}

function judgeLatency(policy: ProbationPolicy, p95Us: number, previousP95Us: number | null): Judgement {
  const limitUs = previousP95Us === null ? Number.POSITIVE_INFINITY : previousP95Us * policy.maxLatencyRatio;
  if (p95Us <= Math.max(limitUs, LATENCY_NOISE_US)) return { verdict: 'commit' };
  return revert('PROBATION_SLOW', `p95 ${Math.round(p95Us)} µs, the previous model took ${previousP95Us} µs`);
}

const revert = (code: string, detail: string): Judgement => ({ verdict: 'revert', code, detail });

/** How often to look: a quarter of the least probation, at least 5 and at most 0.2 times a second. */
export const judgeEveryMs = (policy: ProbationPolicy): Millis =>
  Math.min(5_000, Math.max(200, Math.round(policy.minMs / 4)));
