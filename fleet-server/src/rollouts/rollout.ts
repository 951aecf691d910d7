/** What the rollout machine remembers of one rollout: plain JSON, one row. */
import type { Order } from '@skein/protocol/orders.ts';
import type { UpdateReport } from '@skein/protocol/records.ts';
import type { RolloutSpec, RolloutState, TargetState } from '@skein/protocol/rollout.ts';
import type { Millis, Sha256Hex } from '@skein/protocol/units.ts';
import type { GateSample } from './gate.ts';

export interface Target {
  device: string;
  stage: number;
  control: boolean;
  state: TargetState;
  reason: string | null;
  updatedAt: Millis;
  /** The order that brings the version, once it was given. */
  order: string | null;
  /** The order that takes it back, once it was given. */
  undo: string | null;
  /** What ran and what was ordered before this rollout. */
  previous: { version: string | null; order: Order | null };
  sample: GateSample | null;
  /** Its device is nobody any more: it is never ordered about, and only how it ended is left. */
  erased?: true;
}

/** Why a rollout is held: only `inconclusive` ends by itself, when the missing reports come. */
export interface Hold {
  kind: 'approval' | 'gate' | 'inconclusive';
  detail: string;
}

export interface Rollout {
  id: string;
  spec: RolloutSpec;
  state: RolloutState;
  stage: number;
  createdAt: Millis;
  updatedAt: Millis;
  stageStartedAt: Millis;
  stageDeadlineAt: Millis;
  pausedAt: Millis | null;
  hold: Hold | null;
  /** Why it halted. */
  stop: string | null;
  /** Hashes of the version's variants: what a device may prove to have loaded. */
  variants: Sha256Hex[];
  targets: Target[];
}

export type SteerAction = 'pause' | 'resume' | 'abort' | 'approve' | 'rollback';
export const STEER_ACTIONS: readonly SteerAction[] = ['pause', 'resume', 'abort', 'approve', 'rollback'];

export type RolloutEvent =
  | { type: 'report'; device: string; report: UpdateReport }
  | { type: 'tick' }
  | { type: 'erased'; device: string }
  /** Offline keys have withdrawn the version. */
  | { type: 'revoked' }
  | { type: 'steer'; action: SteerAction };

/** Performed at least once, in order; idempotent. */
export type RolloutEffect = {
  type: 'order';
  device: string;
  model: string;
  /** What this device should do about this model from now on; null: nothing. */
  order: Order | null;
  /** Only while its standing order is of one of these rollouts: a newer one is not overruled. null: in any case. */
  onlyOver: string[] | null;
};

export interface RolloutStep {
  state: Rollout;
  effects: RolloutEffect[];
}

const OPEN: readonly TargetState[] = ['ordered', 'updating', 'probation'];
export const isOpen = (target: Target): boolean => OPEN.includes(target.state);

export const ofStage = (rollout: Rollout): Target[] =>
  rollout.targets.filter((t) => t.stage === rollout.stage);

export const lastStage = (rollout: Rollout): number =>
  rollout.targets.reduce((last, t) => Math.max(last, t.stage), 0);

/** When a stage's soak is over: `soakMs` after its last device was done. */
export function soakedAt(rollout: Rollout): Millis {
  const done = ofStage(rollout).map((t) => t.updatedAt);
  return Math.max(rollout.stageStartedAt, ...done) + rollout.spec.soakMs;
}

/** When the machine wants a tick; null: only events move it. */
export function dueAt(rollout: Rollout): Millis | null {
  if (rollout.state !== 'running') return null;
  return ofStage(rollout).some(isOpen) ? rollout.stageDeadlineAt : soakedAt(rollout);
}
