/** The rollout document: what an operator asks for and what everyone is shown. The machine is the server's. */
import { type Static, Type } from 'typebox';
import { MODEL_NAME_PATTERN, VERSION_PATTERN } from './manifest.ts';
import { ProbationPolicy, Transfer } from './orders.ts';
import { oneOf, recordOf, strict } from './schema.ts';

export const STAGE_PATTERN = '^([1-9][0-9]{0,5}|(100|[1-9][0-9]?)%)$';

export const RolloutSpec = strict({
  model: Type.String({ pattern: MODEL_NAME_PATTERN }),
  version: Type.String({ pattern: VERSION_PATTERN }),
  group: Type.String({ minLength: 1, maxLength: 64, description: '`all` or a group name' }),
  stages: Type.Array(Type.String({ pattern: STAGE_PATTERN }), {
    minItems: 1,
    maxItems: 20,
    description: 'Cumulative: `1`, `10%`, `100%`',
  }),
  soakMs: Type.Integer({ minimum: 0, description: 'A stage waits this long after its last commit' }),
  stageDeadlineMs: Type.Integer({ minimum: 1000 }),
  onInconclusive: oneOf(['hold', 'advance']),
  maxFailures: Type.Integer({
    minimum: 0,
    description: 'Refused or reverted devices tolerated before the rollout halts',
  }),
  approval: oneOf(['none', 'each-stage']),
  probation: ProbationPolicy,
  freshWithinMs: Type.Union([Type.Integer({ minimum: 1000 }), Type.Null()]),
  transfer: Type.Optional(Transfer),
});

export const ROLLOUT_STATES = [
  'running',
  'paused',
  'held',
  'halted',
  'aborted',
  'rolled-back',
  'done',
] as const;
export const TARGET_STATES = [
  'waiting',
  'ordered',
  'updating',
  'probation',
  'committed',
  'unproven',
  'failed',
  'cancelled',
  'unconfirmed',
] as const;

export const RolloutTarget = strict({
  device: Type.String(),
  stage: Type.Integer({ minimum: 0 }),
  control: Type.Boolean(),
  state: oneOf(TARGET_STATES),
  reason: Type.Union([Type.String(), Type.Null()]),
  updatedAt: Type.Number(),
});

export const RolloutView = strict({
  id: Type.String(),
  spec: RolloutSpec,
  state: oneOf(ROLLOUT_STATES),
  revision: Type.Integer({ minimum: 0 }),
  stage: Type.Integer({ minimum: 0 }),
  createdAt: Type.Number(),
  updatedAt: Type.Number(),
  /** One line: what it waits for or why it stopped. */
  why: Type.String(),
  counts: recordOf(Type.Integer()),
  targets: Type.Array(RolloutTarget),
});

export type RolloutSpec = Static<typeof RolloutSpec>;
export type RolloutState = (typeof ROLLOUT_STATES)[number];
export type TargetState = (typeof TARGET_STATES)[number];
export type RolloutTarget = Static<typeof RolloutTarget>;
export type RolloutView = Static<typeof RolloutView>;
