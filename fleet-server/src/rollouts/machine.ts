/**
 * A rollout as a pure machine. Events that do not fit the state change nothing (reports, ticks) or are refused
 * (people's commands).
 *
 * Invariants: a device counts only on a report with proof (machine `prove`); more failures than `maxFailures` halt
 * the rollout and take the version back from every device that has it, whatever state the rollout is in; stage n+1
 * is ordered only after stage n was decided; an order id is used once.
 */
import { SkeinError } from '@skein/protocol/errors.ts';
import type { RolloutSpec } from '@skein/protocol/rollout.ts';
import type { Millis, Sha256Hex } from '@skein/protocol/units.ts';
import { placeDevices } from './cohort.ts';
import { judgeStage } from './gate.ts';
import { orderStage, takeBack, withdraw } from './orders.ts';
import {
  type Hold,
  isOpen,
  lastStage,
  ofStage,
  type Rollout,
  type RolloutEvent,
  type RolloutStep,
  type SteerAction,
  soakedAt,
  type Target,
} from './rollout.ts';
import { eraseTarget, hear } from './target.ts';

export interface Candidate {
  device: string;
  previous: Target['previous'];
}

/** @throws SkeinError ROLLOUT_INVALID when no device would take part */
export function createRollout(
  id: string,
  spec: RolloutSpec,
  variants: readonly Sha256Hex[],
  candidates: readonly Candidate[],
  now: Millis,
): RolloutStep {
  const previous = new Map(candidates.map((c) => [c.device, c.previous]));
  const places = placeDevices(id, [...previous.keys()], spec.stages);
  if (places.length === 0) {
    throw new SkeinError('ROLLOUT_INVALID', `no device is in group ${spec.group}`, {
      fix: 'See `skein devices list`; put devices into the group, or use --group all.',
    });
  }
  const targets = places.map((place): Target => {
    const before = previous.get(place.device)!;
    return {
      ...place,
      state: 'waiting',
      reason: null,
      updatedAt: now,
      order: null,
      undo: null,
      previous: before,
      sample: null,
    };
  });
  const rollout: Rollout = {
    id,
    spec,
    state: 'running',
    stage: 0,
    createdAt: now,
    updatedAt: now,
    stageStartedAt: now,
    stageDeadlineAt: now,
    pausedAt: null,
    hold: null,
    stop: null,
    variants: [...variants],
    targets,
  };
  return enterStage(rollout, 0, now);
}

/** @throws SkeinError CONFLICT when a person asks for what the state does not allow */
export function stepRollout(rollout: Rollout, event: RolloutEvent, now: Millis): RolloutStep {
  switch (event.type) {
    case 'report': {
      const heard = hear(rollout, event.device, event.report, now);
      return after(heard, (state) => afterReport(state, now));
    }
    case 'erased': {
      const without = eraseTarget(rollout, event.device, now);
      return without === rollout ? stay(rollout) : afterReport(without, now);
    }
    case 'tick':
      return rollout.state === 'running' ? decide(rollout, now) : stay(rollout);
    case 'steer':
      return steer(rollout, event.action, now);
    case 'revoked':
      return revoke(rollout, now);
  }
}

function afterReport(rollout: Rollout, now: Millis): RolloutStep {
  const failed = rollout.targets.filter((t) => t.state === 'failed');
  const undone = rollout.state === 'halted' || rollout.state === 'rolled-back';
  if (!undone && failed.length > rollout.spec.maxFailures) {
    const reasons = [...new Set(failed.map((t) => t.reason ?? 'unknown'))].join(', ');
    return halt(rollout, `${failed.length} failed (${reasons}), ${rollout.spec.maxFailures} tolerated`, now);
  }
  if (rollout.state === 'held' && rollout.hold?.kind === 'inconclusive' && !ofStage(rollout).some(isOpen)) {
    return decide({ ...rollout, state: 'running', hold: null }, now);
  }
  return rollout.state === 'running' ? decide(rollout, now) : stay(rollout);
}

/** Where a running stage stands: it waits, soaks, asks a person, goes on or is stopped. */
function decide(rollout: Rollout, now: Millis): RolloutStep {
  const stage = ofStage(rollout);
  const open = stage.filter(isOpen).length;
  if (open > 0 && now < rollout.stageDeadlineAt) return stay(rollout);
  if (open === 0 && now < soakedAt(rollout)) return stay(rollout);
  const { spec, targets } = rollout;
  const answer = judgeStage({
    treated: targets.flatMap((t) => (t.state === 'committed' && t.sample ? [t.sample] : [])),
    control: [],
    unproven: stage.filter((t) => t.state === 'unproven').length,
    maxErrorRate: spec.probation.maxErrorRate,
    maxLatencyRatio: spec.probation.maxLatencyRatio,
  });
  const unproven = answer.decision === 'inconclusive' ? answer.detail : null;
  if (answer.decision === 'halt') return halt(rollout, answer.detail, now);
  if (answer.decision === 'hold') return hold(rollout, { kind: 'gate', detail: answer.detail }, now);
  const unclear = open > 0 ? `${open} devices did not answer in time` : unproven;
  // Told to advance without proof it does, but not without a single answer: that would be no stage at all.
  const silent = open > 0 && !stage.some((t) => t.state === 'committed' || t.state === 'unproven');
  if (unclear && (silent || spec.onInconclusive === 'hold')) {
    return hold(rollout, { kind: 'inconclusive', detail: unclear }, now);
  }
  if (spec.approval === 'each-stage' && rollout.stage < lastStage(rollout)) {
    return hold(
      rollout,
      { kind: 'approval', detail: `${answer.detail}; the next stage needs approval` },
      now,
    );
  }
  return advance(rollout, now);
}

function advance(rollout: Rollout, now: Millis): RolloutStep {
  if (rollout.stage < lastStage(rollout)) return enterStage(rollout, rollout.stage + 1, now);
  return stay({ ...rollout, state: 'done', hold: null, updatedAt: now });
}

function enterStage(rollout: Rollout, stage: number, now: Millis): RolloutStep {
  const entered: Rollout = {
    ...rollout,
    state: 'running',
    hold: null,
    stage,
    stageStartedAt: now,
    stageDeadlineAt: now + rollout.spec.stageDeadlineMs,
    updatedAt: now,
  };
  const ordered = orderStage(entered, now);
  // A stage can be empty: `1,2` of one device. It is over at once.
  return ofStage(entered).length === 0 ? after(ordered, (state) => advance(state, now)) : ordered;
}

const hold = (rollout: Rollout, why: Hold, now: Millis): RolloutStep =>
  stay({ ...rollout, state: 'held', hold: why, updatedAt: now });

const halt = (rollout: Rollout, why: string, now: Millis): RolloutStep =>
  takeBack({ ...rollout, state: 'halted', hold: null, stop: why, updatedAt: now }, now);

/** Devices leave the version by themselves; their orders follow, so that none is told to take it again. */
function revoke(rollout: Rollout, now: Millis): RolloutStep {
  if (rollout.state === 'halted' || rollout.state === 'rolled-back') return stay(rollout);
  return halt(rollout, `${rollout.spec.model}@${rollout.spec.version} was withdrawn by offline keys`, now);
}

/** Which command is allowed when. */
// biome-ignore format: the table is read by its columns
const ALLOWED: Record<SteerAction, readonly Rollout['state'][]> = {
  pause:    ['running'],
  resume:   ['paused', 'held'],
  approve:  ['held'],
  abort:    ['running', 'paused', 'held'],
  rollback: ['running', 'paused', 'held', 'aborted', 'done'],
};

function steer(rollout: Rollout, action: SteerAction, now: Millis): RolloutStep {
  const { state } = rollout;
  const onlyApproval = action === 'resume' && state === 'held' && rollout.hold?.kind !== 'inconclusive';
  if (!ALLOWED[action].includes(state) || onlyApproval) {
    const fix = onlyApproval
      ? 'Approve it to go on, or abort it.'
      : `Allowed from: ${ALLOWED[action].join(', ')}.`;
    throw new SkeinError('CONFLICT', `a rollout that is ${state} can not be changed by ${action}`, { fix });
  }
  switch (action) {
    case 'pause':
      return stay({ ...rollout, state: 'paused', pausedAt: now, updatedAt: now });
    case 'resume':
      return resume(rollout, now);
    case 'approve':
      return advance(rollout, now);
    case 'abort':
      return withdraw({ ...rollout, state: 'aborted', hold: null, updatedAt: now }, now);
    case 'rollback':
      return takeBack({ ...rollout, state: 'rolled-back', hold: null, updatedAt: now }, now);
  }
}

/** A pause does not use up the stage's time; a held stage gets its whole time again. */
function resume(rollout: Rollout, now: Millis): RolloutStep {
  const paused = rollout.pausedAt === null ? 0 : now - rollout.pausedAt;
  const stageDeadlineAt =
    rollout.state === 'held' ? now + rollout.spec.stageDeadlineMs : rollout.stageDeadlineAt + paused;
  const running: Rollout = {
    ...rollout,
    state: 'running',
    hold: null,
    pausedAt: null,
    stageDeadlineAt,
    updatedAt: now,
  };
  return decide(running, now);
}

const stay = (state: Rollout): RolloutStep => ({ state, effects: [] });

function after(first: RolloutStep, next: (state: Rollout) => RolloutStep): RolloutStep {
  const { state, effects } = next(first.state);
  return { state, effects: [...first.effects, ...effects] };
}
