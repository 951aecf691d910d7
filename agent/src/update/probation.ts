/**
 * The judge of a new model's first inferences on the device. Rules, in this order:
 * 1. any output that is not finite reverts;
 * 2. errors revert once the rate is above the limit even if all inferences still owed succeed;
 * 3. before `minMs` or with fewer than `minInferences` successes it continues, at `deadlineMs` it stays `unproven`;
 * 4. p95 at most `maxLatencyRatio` × the previous model's own p95, or within the scheduler's noise, commits; above both
 *    it reverts once that can be no chance, continues until then, and stays `unproven` at `deadlineMs`.
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
  const latency = judgeLatency(policy, stats, previousP95Us);
  return latency.verdict === 'continue' && elapsedMs >= policy.deadlineMs ? { verdict: 'unproven' } : latency;
}

function judgeLatency(
  policy: ProbationPolicy,
  { p95LatencyUs, p95AtLeastUs }: ProbationStats,
  previousP95Us: number | null,
): Judgement {
  const ratioUs = previousP95Us === null ? Number.POSITIVE_INFINITY : previousP95Us * policy.maxLatencyRatio;
  const limitUs = Math.max(ratioUs, LATENCY_NOISE_US);
  if (p95LatencyUs <= limitUs) return { verdict: 'commit' };
  if (p95AtLeastUs <= limitUs) return { verdict: 'continue' };
  const took = `p95 ${Math.round(p95LatencyUs)} µs, surely above ${Math.round(p95AtLeastUs)}`;
  return revert('PROBATION_SLOW', `${took}; the previous model took ${Math.round(previousP95Us!)} µs`);
}

const revert = (code: string, detail: string): Judgement => ({ verdict: 'revert', code, detail });

/** How often to look: a quarter of the least probation, at least 5 and at most 0.2 times a second. */
export const judgeEveryMs = (policy: ProbationPolicy): Millis =>
  Math.min(5_000, Math.max(200, Math.round(policy.minMs / 4)));
