/** What people are shown of a rollout. */
import type { RolloutView } from '@skein/protocol/rollout.ts';
import type { Rollout } from './rollout.ts';
import { whyRollout } from './why.ts';

export function viewOf(rollout: Rollout, revision: number): RolloutView {
  const counts: Record<string, number> = {};
  for (const { state } of rollout.targets) counts[state] = (counts[state] ?? 0) + 1;
  const { id, spec, state, stage, createdAt, updatedAt } = rollout;
  return {
    id,
    spec,
    state,
    revision,
    stage,
    createdAt,
    updatedAt,
    why: whyRollout(rollout),
    counts,
    targets: rollout.targets.map(({ device, stage, control, state, reason, updatedAt }) => {
      return { device, stage, control, state, reason, updatedAt };
    }),
  };
}
