/** What an operator may do with a rollout in each state, and what it means, said before it happens. Pure. */
import type { RolloutState, RolloutView } from '@skein/protocol/rollout.ts';

export const ACTIONS = ['approve', 'pause', 'resume', 'abort', 'rollback'] as const;
export type Action = (typeof ACTIONS)[number];

export interface ActionWords {
  verb: string;
  danger: boolean;
  text(rollout: RolloutView): string;
}

/** The server's own table, by state; it refuses whatever else is asked. */
const MAY: Record<RolloutState, readonly Action[]> = {
  running: ['pause', 'abort', 'rollback'],
  paused: ['resume', 'abort', 'rollback'],
  held: ['approve', 'abort', 'rollback'],
  halted: [],
  aborted: ['rollback'],
  'rolled-back': [],
  done: ['rollback'],
};

export const actionsFor = (rollout: RolloutView): readonly Action[] => MAY[rollout.state];

export const WORDS: Record<Action, ActionWords> = {
  approve: {
    verb: 'Approve',
    danger: false,
    text: (rollout) =>
      `Stage ${rollout.stage + 1} counts as good and the next devices are ordered to update.`,
  },
  pause: {
    verb: 'Pause',
    danger: false,
    text: () => 'No further device is ordered to update. Devices that are at it finish. It can be resumed.',
  },
  resume: {
    verb: 'Resume',
    danger: false,
    text: () => 'The rollout goes on where it stopped, with the same stages and limits.',
  },
  abort: {
    verb: 'Abort',
    danger: true,
    text: () =>
      'Orders that no device has carried out are withdrawn, for good. Devices that have the new model keep it; roll back to return them.',
  },
  rollback: {
    verb: 'Roll back',
    danger: true,
    text: (rollout) =>
      `Every device that this rollout updated to ${rollout.spec.model}@${rollout.spec.version} is ordered back to the version it ran before.`,
  },
};
