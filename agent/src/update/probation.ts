/**
 * The judge of a new model's first inferences on the device, by what the model before it did here. Rules, in this order:
 * 1. any output that is not finite reverts;
 * 2. errors revert once the rate is above the limit even if all inferences still owed succeed;
 * 3. memory reverts when the process grew by more than the model may take and {@link MEMORY_NOISE_BYTES};
 * 4. its own charts revert when they say that it drifts, while those of the model before call the same readings calm: what it
 *    was trained on is not what it sees here. Where these drift too, or say nothing, nothing is held against the new one;
 * 5. before `minMs` or with fewer than `minInferences` successes it continues, at `deadlineMs` it stays `unproven`;
 * 6. p95 at most `maxLatencyRatio` × the previous model's own p95, or within the scheduler's noise, commits; above both
 *    it reverts once that can be no chance, continues until then, and stays `unproven` at `deadlineMs`.
 */
import { LATENCY_NOISE_US, MEMORY_NOISE_BYTES, type ProbationPolicy } from '@skein/protocol/orders.ts';
import { type Bytes, MIB, type Millis, SECOND } from '@skein/protocol/units.ts';
import type { ProbationStats } from './ports.ts';

export type Judgement =
  | { verdict: 'continue' | 'commit' | 'unproven' }
  | { verdict: 'revert'; code: string; detail: string };

/** What a trial is measured by; the model before it gave all but the first. */
export interface Yardstick {
  /** Resident memory from which on the new model takes too much; absent: it is not known. */
  memoryLimitBytes?: Bytes | undefined;
  /** null: it had too few inferences. */
  previousP95Us: number | null;
}

/** Fewer say nothing of a model's latency. */
const COMPARABLE_INFERENCES = 5;

/**
 * @param before the figures of the model before, as it was left. @param known what an earlier start of this trial found:
 * after it nothing may have run. @param needs what the new model may take
 */
export function yardstickOf(before: ProbationStats, known: Yardstick, needs: Bytes | undefined): Yardstick {
  const { inferences, p95LatencyUs, residentBytes } = before;
  const isKnown = residentBytes !== undefined && needs !== undefined;
  return {
    previousP95Us: inferences >= COMPARABLE_INFERENCES ? p95LatencyUs : known.previousP95Us,
    memoryLimitBytes: isKnown ? residentBytes + needs + MEMORY_NOISE_BYTES : undefined,
  };
}

/** `stats.inferences` counts all attempts. */
export function judgeProbation(
  policy: ProbationPolicy,
  stats: ProbationStats,
  elapsedMs: Millis,
  yardstick: Yardstick,
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
  const harm = harmAround(stats, yardstick);
  if (harm) return harm;
  if (succeeded < policy.minInferences) {
    return { verdict: elapsedMs >= policy.deadlineMs ? 'unproven' : 'continue' };
  }
  if (elapsedMs < policy.minMs) return { verdict: 'continue' };
  const latency = judgeLatency(policy, stats, yardstick.previousP95Us);
  return latency.verdict === 'continue' && elapsedMs >= policy.deadlineMs ? { verdict: 'unproven' } : latency;
}

function harmAround(
  { residentBytes = 0, drift, formerDrift }: ProbationStats,
  { memoryLimitBytes = Number.POSITIVE_INFINITY }: Yardstick,
): Judgement | undefined {
  const mib = (bytes: Bytes) => `${Math.round(bytes / MIB)} MiB`;
  if (residentBytes > memoryLimitBytes) {
    return revert('PROBATION_MEMORY', `${mib(residentBytes)} resident, ${mib(memoryLimitBytes)} allowed`);
  }
  if (drift !== 'drift' || formerDrift !== 'calm') return undefined;
  const detail = 'what it sees here drifts from its profile, and is calm by that of the previous model';
  return revert('PROBATION_DRIFT', detail);
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

/** How often to look: a quarter of the least probation, 1 to 5 times a second; what does harm is gone within two seconds. */
export const judgeEveryMs = (policy: ProbationPolicy): Millis =>
  Math.min(SECOND, Math.max(200, Math.round(policy.minMs / 4)));
