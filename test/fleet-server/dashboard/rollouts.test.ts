import type { RolloutTarget, RolloutView } from '@skein/protocol/rollout.ts';
import { RolloutSpec } from '@skein/protocol/rollout.ts';
import { checker } from '@skein/protocol/schema.ts';
import { describe, expect, it } from 'vitest';
import {
  type Draft,
  FIRST_DRAFT,
  readDraft,
  splitStages,
  stageSizes,
} from '../../../fleet-server/dashboard/src/rollouts/draft.ts';
import { doneOf, stagesOf } from '../../../fleet-server/dashboard/src/rollouts/progress.ts';

const draft = (part: Partial<Draft> = {}): Draft => ({ ...FIRST_DRAFT, model: 'host@1.2.0', ...part });

describe('the rollout form', () => {
  it('makes a spec that the protocol accepts', () => {
    const read = readDraft(draft({ stages: '1 → 10%; 100%', soak: '1.5m', fresh: '' }));
    expect(read).toMatchObject({
      spec: { stages: ['1', '10%', '100%'], soakMs: 90_000, freshWithinMs: null },
    });
    if ('spec' in read)
      expect(checker(RolloutSpec, 'ROLLOUT_INVALID').check(read.spec, 'spec')).toBe(read.spec);
  });

  it.each<[Partial<Draft>, keyof Draft]>([
    [{ model: '' }, 'model'],
    [{ stages: '' }, 'stages'],
    [{ stages: '0, 5' }, 'stages'],
    [{ stages: '101%' }, 'stages'],
    [{ stages: '10%, 10%' }, 'stages'],
    [{ stages: '5, 3' }, 'stages'],
    [{ soak: '30' }, 'soak'],
    [{ deadline: '10ms' }, 'deadline'],
    [{ maxFailures: '1.5' }, 'maxFailures'],
    [{ minInferences: '0' }, 'minInferences'],
    [{ maxErrorPercent: '101' }, 'maxErrorPercent'],
    [{ maxLatencyRatio: '' }, 'maxLatencyRatio'],
  ])('says what is wrong with %o', (part, field) => {
    const read = readDraft(draft(part));
    expect('wrong' in read && Object.keys(read.wrong)).toEqual([field]);
  });

  it('foretells how many devices each stage reaches', () => {
    expect(stageSizes(splitStages('1, 10%, 100%'), 13)).toEqual([1, 2, 13]);
    expect(stageSizes(['50'], 13)).toEqual([13]);
  });
});

describe('a rollout’s progress', () => {
  const target = (stage: number, state: RolloutTarget['state'], control = false): RolloutTarget => ({
    device: `d-${stage}-${state}`,
    stage,
    control,
    state,
    reason: null,
    updatedAt: 0,
  });
  const read = readDraft(draft({ stages: '1, 100%' }));
  if ('wrong' in read) throw new Error('the first draft is right');
  const rollout: RolloutView = {
    id: 'r',
    spec: read.spec,
    state: 'running',
    revision: 1,
    stage: 1,
    createdAt: 0,
    updatedAt: 0,
    why: '',
    counts: {},
    targets: [
      target(0, 'committed'),
      target(1, 'probation'),
      target(1, 'failed'),
      target(1, 'waiting'),
      target(1, 'unproven'),
      target(2, 'waiting', true),
    ],
  };

  it('is told stage by stage, the control cohort last', () => {
    const stages = stagesOf(rollout);
    expect(stages.map((stage) => [stage.name, stage.total, stage.now])).toEqual([
      ['1', 1, false],
      ['100%', 4, true],
      ['control', 1, false],
    ]);
    expect(stages[1]?.parts).toEqual({ committed: 0, unproven: 1, busy: 1, failed: 1, out: 0 });
  });

  it('has no current stage once it ended', () => {
    expect(stagesOf({ ...rollout, state: 'halted' }).some((stage) => stage.now)).toBe(false);
    expect(doneOf(rollout)).toEqual({ done: 2, total: 6 });
  });
});
