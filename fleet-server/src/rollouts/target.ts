/**
 * What a signed report does to its device's part of a rollout. A report counts for the order it names and no other;
 * a milestone that comes after the end changes nothing.
 */
import type { UpdateReport } from '@skein/protocol/records.ts';
import type { TargetState } from '@skein/protocol/rollout.ts';
import type { Millis } from '@skein/protocol/units.ts';
import { undo } from './orders.ts';
import { isOpen, type Rollout, type RolloutEffect, type RolloutStep, type Target } from './rollout.ts';

interface Heard {
  target: Target;
  effects: RolloutEffect[];
}

export function hear(rollout: Rollout, device: string, report: UpdateReport, now: Millis): RolloutStep {
  const index = rollout.targets.findIndex((t) => t.device === device);
  const target = rollout.targets[index];
  if (!target) return { state: rollout, effects: [] };
  const heard = hearOne(rollout, target, report, now);
  if (heard.target === target) return { state: rollout, effects: heard.effects };
  return {
    state: { ...rollout, updatedAt: now, targets: rollout.targets.with(index, heard.target) },
    effects: heard.effects,
  };
}

const ENDED: readonly TargetState[] = ['committed', 'unproven', 'failed', 'cancelled'];

/** Forgets whose place it was and what its device reported; what was decided by it stays true. */
export function eraseTarget(rollout: Rollout, device: string, now: Millis): Rollout {
  const index = rollout.targets.findIndex((t) => t.device === device);
  const target = rollout.targets[index];
  if (!target) return rollout;
  const { stage, control, state, updatedAt } = target;
  const ended = ENDED.includes(state);
  const nameless: Target = {
    ...{ device: `erased-${rollout.targets.filter((t) => t.erased).length + 1}`, stage, control },
    ...{ state: ended ? state : 'cancelled', reason: 'ERASED', updatedAt: ended ? updatedAt : now },
    ...{ order: null, undo: null, previous: { version: null, order: null }, sample: null, erased: true },
  };
  return { ...rollout, updatedAt: now, targets: rollout.targets.with(index, nameless) };
}

function hearOne(rollout: Rollout, target: Target, report: UpdateReport, now: Millis): Heard {
  if (report.model !== rollout.spec.model) return { target, effects: [] };
  if (target.undo !== null && report.order === target.undo)
    return { target: undone(target, report, now), effects: [] };
  const forward = report.order === target.order && report.version === rollout.spec.version;
  return forward ? hearForward(rollout, target, report, now) : { target, effects: [] };
}

const MILESTONES: Partial<Record<UpdateReport['outcome'], TargetState>> = {
  started: 'updating',
  downloaded: 'updating',
  preflighted: 'updating',
  probation: 'probation',
};

function hearForward(rollout: Rollout, target: Target, report: UpdateReport, now: Millis): Heard {
  const milestone = MILESTONES[report.outcome];
  if (milestone) {
    const late = !isOpen(target) || (target.state === 'probation' && milestone === 'updating');
    return { target: late ? target : { ...target, state: milestone, updatedAt: now }, effects: [] };
  }
  const ended = endOf(rollout, target, report, now);
  const back = rollout.state === 'halted' || rollout.state === 'rolled-back';
  // It got through before it heard of the halt: now that this is known it is ordered back.
  const has = ended.state === 'committed' || ended.state === 'unproven';
  return back && has && target.state === 'unconfirmed'
    ? undo(rollout, ended, now)
    : { target: ended, effects: [] };
}

function endOf(rollout: Rollout, target: Target, report: UpdateReport, now: Millis): Target {
  const to = (state: TargetState, reason: string | null): Target => ({
    ...target,
    state,
    reason,
    updatedAt: now,
  });
  switch (report.outcome) {
    case 'refused':
    case 'reverted':
      return target.undo === null ? to('failed', report.reason ?? report.outcome) : target;
    case 'cancelled':
      return isOpen(target) || target.state === 'unconfirmed' ? to('cancelled', report.reason) : target;
    case 'committed':
    case 'unproven': {
      if (!isOpen(target) && target.state !== 'unconfirmed') return target;
      const { state, reason } = prove(rollout, report);
      const { inferences, errors, p95LatencyUs } = report.probation;
      const sample = { inferences, errors, p95LatencyUs, previousP95Us: report.previousP95LatencyUs ?? null };
      return { ...to(state, reason), sample };
    }
    default:
      return target;
  }
}

/** Success is proven, or it is not success: hash, golden vectors, inferences. */
function prove(rollout: Rollout, report: UpdateReport): { state: TargetState; reason: string | null } {
  const { golden, loaded, probation } = report;
  if (loaded === null || !rollout.variants.includes(loaded))
    return { state: 'failed', reason: 'BLOB_MISMATCH' };
  if (golden.total === 0 || golden.passed !== golden.total)
    return { state: 'failed', reason: 'GOLDEN_MISMATCH' };
  const succeeded = probation.inferences - probation.errors;
  const enough = report.outcome === 'committed' && succeeded >= rollout.spec.probation.minInferences;
  return enough
    ? { state: 'committed', reason: null }
    : { state: 'unproven', reason: `${succeeded} inferences` };
}

/** Reports of the order that goes back: what confirms it, and what says that it could not. */
function undone(target: Target, report: UpdateReport, now: Millis): Target {
  if (target.state !== 'unconfirmed') return target;
  switch (report.outcome) {
    case 'committed':
    case 'unproven':
    case 'cancelled':
      return { ...target, state: 'cancelled', reason: 'went back to the version before', updatedAt: now };
    case 'refused':
    case 'reverted':
      return { ...target, reason: `could not go back: ${report.reason ?? report.outcome}`, updatedAt: now };
    default:
      return target;
  }
}
