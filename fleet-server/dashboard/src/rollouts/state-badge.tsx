import type { RolloutState, TargetState } from '@skein/protocol/rollout.ts';
import { Badge, type Tone } from '../ui/badge.tsx';

const ROLLOUT: Record<RolloutState, Tone> = {
  running: 'accent',
  paused: 'plain',
  held: 'warn',
  halted: 'bad',
  aborted: 'bad',
  'rolled-back': 'warn',
  done: 'good',
};

const TARGET: Record<TargetState, Tone> = {
  waiting: 'plain',
  ordered: 'accent',
  updating: 'accent',
  probation: 'accent',
  committed: 'good',
  unproven: 'warn',
  failed: 'bad',
  cancelled: 'plain',
  unconfirmed: 'warn',
};

export function RolloutBadge({ state }: { state: RolloutState }) {
  return <Badge tone={ROLLOUT[state]}>{state.replace('-', ' ')}</Badge>;
}

export function TargetBadge({ state }: { state: TargetState }) {
  return <Badge tone={TARGET[state]}>{state}</Badge>;
}
