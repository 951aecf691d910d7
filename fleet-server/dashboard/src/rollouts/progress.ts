/** A rollout's targets as stages and parts of a bar. Pure. */
import type { RolloutTarget, RolloutView, TargetState } from '@skein/protocol/rollout.ts';

export const PARTS = ['committed', 'unproven', 'busy', 'failed', 'out'] as const;
export type Part = (typeof PARTS)[number];

/** `waiting` has no part: it is the empty rest of the bar. */
const PART_OF: Record<TargetState, Part | undefined> = {
  waiting: undefined,
  ordered: 'busy',
  updating: 'busy',
  probation: 'busy',
  committed: 'committed',
  unproven: 'unproven',
  failed: 'failed',
  cancelled: 'out',
  unconfirmed: 'out',
};

export interface StageProgress {
  stage: number;
  /** As the operator wrote it, `10%`; the control cohort, released last, is `control`. */
  name: string;
  total: number;
  parts: Record<Part, number>;
  now: boolean;
}

const partsOf = (targets: readonly RolloutTarget[]): Record<Part, number> => {
  const parts: Record<Part, number> = { committed: 0, unproven: 0, busy: 0, failed: 0, out: 0 };
  for (const target of targets) {
    const part = PART_OF[target.state];
    if (part) parts[part]++;
  }
  return parts;
};

export function stagesOf(rollout: RolloutView): StageProgress[] {
  const last = Math.max(rollout.spec.stages.length - 1, ...rollout.targets.map((target) => target.stage));
  const active = rollout.state === 'running' || rollout.state === 'paused' || rollout.state === 'held';
  return Array.from({ length: last + 1 }, (_, stage) => {
    const targets = rollout.targets.filter((target) => target.stage === stage);
    const control = targets.length > 0 && targets.every((target) => target.control);
    return {
      stage,
      name: control ? 'control' : (rollout.spec.stages[stage] ?? `stage ${stage + 1}`),
      total: targets.length,
      parts: partsOf(targets),
      now: active && stage === rollout.stage,
    };
  });
}

/** Devices that have the new model, of all. */
export function doneOf(rollout: RolloutView): { done: number; total: number } {
  const parts = partsOf(rollout.targets);
  return { done: parts.committed + parts.unproven, total: rollout.targets.length };
}
