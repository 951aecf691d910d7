/** A rollout to talk about in tests: `devices` in the given stages, running 1.0.0, ordered to 1.1.0. */
import { createRollout } from '@skein/fleet-server/rollouts/machine.ts';
import type { Rollout } from '@skein/fleet-server/rollouts/rollout.ts';
import type { UpdateReport } from '@skein/protocol/records.ts';
import type { RolloutSpec } from '@skein/protocol/rollout.ts';

export const START = Date.parse('2026-01-01T00:00:00Z');
export const GOOD_HASH = 'a'.repeat(64);

export const SPEC: RolloutSpec = {
  model: 'host',
  version: '1.1.0',
  group: 'all',
  stages: ['1', '100%'],
  soakMs: 30_000,
  stageDeadlineMs: 600_000,
  onInconclusive: 'hold',
  maxFailures: 0,
  approval: 'none',
  probation: { minInferences: 20, minMs: 10_000, deadlineMs: 60_000, maxErrorRate: 0.05, maxLatencyRatio: 4 },
  freshWithinMs: 600_000,
};

export const deviceNames = (n: number): string[] => Array.from({ length: n }, (_, i) => `d-${i}`);

export const newRollout = (spec: Partial<RolloutSpec> = {}, devices = 4, version: string | null = '1.0.0') =>
  createRollout(
    'r-one',
    { ...SPEC, ...spec },
    [GOOD_HASH],
    deviceNames(devices).map((device) => ({ device, previous: { version, order: null } })),
    START,
  );

export const inStage = (rollout: Rollout, stage: number): string[] =>
  rollout.targets.filter((t) => t.stage === stage).map((t) => t.device);

export const report = (
  outcome: UpdateReport['outcome'],
  change: Partial<UpdateReport> = {},
): UpdateReport => ({
  id: `r-one.1:${outcome}`,
  order: 'r-one.1',
  rollout: 'r-one',
  model: 'host',
  version: '1.1.0',
  outcome,
  reason: null,
  detail: null,
  loaded: GOOD_HASH,
  golden: { passed: 4, total: 4 },
  probation: { inferences: 20, errors: 0, notFinite: 0, p95LatencyUs: 900 },
  previousP95LatencyUs: 1000,
  ...change,
});
