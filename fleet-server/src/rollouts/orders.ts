/** Orders that a rollout gives and takes back. An order id is `<rollout>.<n>`, used once a device. */
import { ANY_LATENCY_RATIO, type Order, type ProbationPolicy } from '@skein/protocol/orders.ts';
import type { Millis } from '@skein/protocol/units.ts';
import { isOpen, type Rollout, type RolloutEffect, type RolloutStep, type Target } from './rollout.ts';

/**
 * The version before has proved itself here and may well be slower than the one that must go: if its latency were
 * held against it, a quick but harmful version could not be undone, and the good one would be quarantined.
 */
const backward = (policy: ProbationPolicy): ProbationPolicy => ({
  ...policy,
  maxLatencyRatio: ANY_LATENCY_RATIO,
});

const orderOf = (rollout: Rollout, id: string, version: string): Order => ({
  id,
  rollout: rollout.id,
  model: rollout.spec.model,
  version,
  probation: rollout.spec.probation,
  freshWithinMs: rollout.spec.freshWithinMs,
  ...(rollout.spec.transfer ? { transfer: rollout.spec.transfer } : {}),
});

/** Takes back what this rollout ordered, or what it had put back in its place before: never a newer rollout's order. */
function giveBack(rollout: Rollout, target: Target, order: Order | null): RolloutEffect {
  const before = target.previous.order?.rollout;
  const onlyOver = before === undefined ? [rollout.id] : [rollout.id, before];
  return { type: 'order', device: target.device, model: rollout.spec.model, order, onlyOver };
}

/** Changes each target by itself and collects the effects. */
function each(
  rollout: Rollout,
  change: (target: Target) => { target: Target; effects: RolloutEffect[] },
): RolloutStep {
  const changed = rollout.targets.map((target) => (target.erased ? { target, effects: [] } : change(target)));
  return {
    state: { ...rollout, targets: changed.map((c) => c.target) },
    effects: changed.flatMap((c) => c.effects),
  };
}

/** Orders the version for the current stage. */
export function orderStage(rollout: Rollout, now: Millis): RolloutStep {
  const id = `${rollout.id}.1`;
  const order = orderOf(rollout, id, rollout.spec.version);
  return each(rollout, (target) => {
    if (target.stage !== rollout.stage || target.state !== 'waiting') return { target, effects: [] };
    const ordered: Target = { ...target, state: 'ordered', order: id, updatedAt: now };
    return {
      target: ordered,
      effects: [{ type: 'order', device: target.device, model: order.model, order, onlyOver: null }],
    };
  });
}

/** Abort: who does not have the version yet keeps what it has; who has it keeps it. */
export function withdraw(rollout: Rollout, now: Millis): RolloutStep {
  return each(rollout, (target) => {
    if (target.state === 'waiting') return { target: closed(target, 'never ordered', now), effects: [] };
    if (!isOpen(target)) return { target, effects: [] };
    return restore(rollout, target, now);
  });
}

/** Halt and rollback: who has the version is ordered back, everyone else keeps what it has. */
export function takeBack(rollout: Rollout, now: Millis): RolloutStep {
  return each(rollout, (target) => {
    switch (target.state) {
      case 'waiting':
        return { target: closed(target, 'never ordered', now), effects: [] };
      case 'committed':
      case 'unproven':
        return undo(rollout, target, now);
      case 'failed':
        // The device went back by itself; its standing order follows.
        return { target, effects: [giveBack(rollout, target, target.previous.order)] };
      default:
        return isOpen(target) ? restore(rollout, target, now) : { target, effects: [] };
    }
  });
}

/** Orders the version that ran before. With none before there is nothing to go back to. */
export function undo(
  rollout: Rollout,
  target: Target,
  now: Millis,
): { target: Target; effects: RolloutEffect[] } {
  const { version } = target.previous;
  if (target.undo !== null) return { target, effects: [] };
  if (version === null || version === rollout.spec.version) {
    return { target: { ...target, reason: 'NOTHING_BEFORE' }, effects: [giveBack(rollout, target, null)] };
  }
  const id = `${rollout.id}.2`;
  const undone: Target = { ...target, state: 'unconfirmed', undo: id, updatedAt: now };
  const back = orderOf(rollout, id, version);
  const order = { ...back, probation: backward(back.probation) };
  return { target: undone, effects: [giveBack(rollout, target, order)] };
}

/** Takes an order back that was not carried out yet, as far as is known here. */
function restore(rollout: Rollout, target: Target, now: Millis) {
  const told: Target = { ...target, state: 'unconfirmed', updatedAt: now };
  return { target: told, effects: [giveBack(rollout, target, target.previous.order)] };
}

const closed = (target: Target, reason: string, now: Millis): Target => ({
  ...target,
  state: 'cancelled',
  reason,
  updatedAt: now,
});
