import { stepRollout } from '@skein/fleet-server/rollouts/machine.ts';
import {
  dueAt,
  type Rollout,
  type RolloutEvent,
  type RolloutStep,
} from '@skein/fleet-server/rollouts/rollout.ts';
import { viewOf } from '@skein/fleet-server/rollouts/view.ts';
import { whyDevice } from '@skein/fleet-server/rollouts/why.ts';
import { ANY_LATENCY_RATIO } from '@skein/protocol/orders.ts';
import type { UpdateReport } from '@skein/protocol/records.ts';
import type { RolloutSpec } from '@skein/protocol/rollout.ts';
import { describe, expect, it } from 'vitest';
import { inStage, newRollout, report, START } from './example.ts';

/** Plays events against a rollout; each names what happens and when, in ms after the start. */
class Play {
  state: Rollout;
  effects: RolloutStep['effects'];
  now = START;

  constructor(spec: Partial<RolloutSpec> = {}, devices = 4, version: string | null = '1.0.0') {
    ({ state: this.state, effects: this.effects } = newRollout(spec, devices, version));
  }

  event(event: RolloutEvent): this {
    const step = stepRollout(this.state, event, this.now);
    this.state = step.state;
    this.effects = step.effects;
    return this;
  }

  /** `device` reports; later by a second. */
  says(device: string, outcome: UpdateReport['outcome'], change: Partial<UpdateReport> = {}): this {
    this.now += 1_000;
    return this.event({ type: 'report', device, report: report(outcome, change) });
  }

  allSay(stage: number, outcome: UpdateReport['outcome'], change: Partial<UpdateReport> = {}): this {
    for (const device of inStage(this.state, stage)) this.says(device, outcome, change);
    return this;
  }

  /** The next due row comes up. */
  due(): this {
    this.now = dueAt(this.state) ?? this.now;
    return this.event({ type: 'tick' });
  }

  steer(action: 'pause' | 'resume' | 'abort' | 'approve' | 'rollback'): this {
    return this.event({ type: 'steer', action });
  }

  /** `device 1.1.0` for an order, `device -` for none. */
  get orders(): string[] {
    return this.effects.map((e) => `${e.device} ${e.order?.version ?? '-'}`).sort();
  }

  states(stage?: number): string[] {
    return this.state.targets.filter((t) => stage === undefined || t.stage === stage).map((t) => t.state);
  }
}

const first = (play: Play): string => inStage(play.state, 0)[0]!;

describe('a rollout that goes well', () => {
  it('orders one stage after the other, each after its soak, and ends', () => {
    const play = new Play();
    expect(play.orders).toEqual([`${first(play)} 1.1.0`]);
    play.says(first(play), 'started').says(first(play), 'probation');
    expect(play.states(0)).toEqual(['probation']);
    play.says(first(play), 'committed');
    expect(play.effects).toEqual([]);
    expect(dueAt(play.state)).toBe(play.now + 30_000);
    play.due();
    expect(play.state).toMatchObject({ state: 'running', stage: 1 });
    expect(play.orders).toEqual(
      inStage(play.state, 1)
        .map((d) => `${d} 1.1.0`)
        .sort(),
    );
    play.allSay(1, 'committed').due();
    expect(play.state.state).toBe('done');
    expect(play.states()).toEqual(['committed', 'committed', 'committed', 'committed']);
    expect(dueAt(play.state)).toBeNull();
  });

  it('releases the control cohort last', () => {
    const play = new Play({ stages: ['100%'] }, 20);
    expect(play.states(1)).toEqual(['waiting']);
    play.allSay(0, 'committed').due();
    expect(play.orders).toHaveLength(1);
    expect(play.state.targets.filter((t) => t.control).map((t) => t.state)).toEqual(['ordered']);
  });

  it('passes stages in which nobody is', () => {
    const play = new Play({ stages: ['1', '1', '100%'] }, 1);
    expect(play.says(first(play), 'committed').due().state.state).toBe('done');
  });

  it('goes on at once with no soak', () => {
    const play = new Play({ soakMs: 0 });
    expect(play.says(first(play), 'committed').state.stage).toBe(1);
  });
});

describe('proof', () => {
  // biome-ignore format: the table is read by its columns
  it.each([
    ['whole',                           {},                                                                    'committed', null],
    ['of other bytes',                  { loaded: 'b'.repeat(64) },                                            'failed',    'BLOB_MISMATCH'],
    ['with no loaded hash',             { loaded: null },                                                      'failed',    'BLOB_MISMATCH'],
    ['with a golden vector missed',     { golden: { passed: 3, total: 4 } },                                   'failed',    'GOLDEN_MISMATCH'],
    ['with no golden vectors',          { golden: { passed: 0, total: 0 } },                                   'failed',    'GOLDEN_MISMATCH'],
    ['with too few inferences',         { probation: { inferences: 19, errors: 0, notFinite: 0, p95LatencyUs: 1 } }, 'unproven', '19 inferences'],
    ['with errors among too few',       { probation: { inferences: 20, errors: 1, notFinite: 0, p95LatencyUs: 1 } }, 'unproven', '19 inferences'],
  ] as const)('%s counts as %s', (_, change, state, reason) => {
    const play = new Play({ maxFailures: 9 });
    play.says(first(play), 'committed', change as Partial<UpdateReport>);
    expect(play.state.targets.find((t) => t.device === first(play))).toMatchObject({ state, reason });
  });

  it('of another order, another version or another device counts nothing', () => {
    const play = new Play();
    const before = play.state;
    play.says(first(play), 'committed', { order: 'r-one.9' });
    play.says(first(play), 'committed', { version: '1.0.9' });
    play.says(first(play), 'committed', { model: 'gas' });
    play.says('d-stranger', 'committed');
    play.says(inStage(play.state, 1)[0]!, 'committed');
    expect(play.state).toBe(before);
  });

  it('that comes late or twice changes nothing', () => {
    const play = new Play();
    play.says(first(play), 'committed');
    const before = play.state;
    play.says(first(play), 'committed').says(first(play), 'probation').says(first(play), 'started');
    expect(play.state).toBe(before);
  });

  it('unproven counts neither way: it holds for a person', () => {
    const play = new Play();
    play
      .says(first(play), 'unproven', {
        probation: { inferences: 2, errors: 0, notFinite: 0, p95LatencyUs: 1 },
      })
      .due();
    expect(play.state).toMatchObject({ state: 'held', stage: 0, hold: { kind: 'inconclusive' } });
    expect(play.steer('approve').state).toMatchObject({ state: 'running', stage: 1 });
  });

  it('unproven goes on when told so', () => {
    const play = new Play({ onInconclusive: 'advance' });
    expect(play.says(first(play), 'unproven').due().state.stage).toBe(1);
  });
});

describe('a failure', () => {
  it('halts the rollout and takes the version back from who has it', () => {
    const play = new Play({ stages: ['2', '100%'] });
    const [a, b] = inStage(play.state, 0) as [string, string];
    play.says(a, 'committed').says(b, 'reverted', { reason: 'MODEL_OUTPUT_NOT_FINITE' });
    expect(play.state).toMatchObject({ state: 'halted', stage: 0 });
    expect(play.orders).toEqual([`${a} 1.0.0`, `${b} -`].sort());
    expect(play.effects.find((e) => e.device === a)?.order?.id).toBe('r-one.2');
    expect(play.states(1)).toEqual(['cancelled', 'cancelled']);
    expect(viewOf(play.state, 3).why).toBe(
      'halted in stage 1 of 2: 1 failed (MODEL_OUTPUT_NOT_FINITE), 0 tolerated; 1 device did not confirm yet',
    );
    play.says(a, 'committed', { order: 'r-one.2', version: '1.0.0' });
    expect(play.state.targets.find((t) => t.device === a)?.state).toBe('cancelled');
    expect(viewOf(play.state, 4).why).not.toContain('confirm');
  });

  it('is tolerated up to the number that was allowed', () => {
    const play = new Play({ stages: ['2', '100%'], maxFailures: 1 });
    const [a, b] = inStage(play.state, 0) as [string, string];
    play.says(a, 'refused').says(b, 'committed').due();
    expect(play.state).toMatchObject({ state: 'running', stage: 1 });
    expect(play.says(inStage(play.state, 1)[0]!, 'refused').state.state).toBe('halted');
  });

  it('after the end still takes the version back', () => {
    const play = new Play();
    play.says(first(play), 'committed').due().allSay(1, 'committed').due();
    expect(play.state.state).toBe('done');
    play.says(first(play), 'reverted', { reason: 'START_FAILED' });
    expect(play.state.state).toBe('halted');
    expect(play.orders.filter((o) => o.endsWith(' 1.0.0'))).toHaveLength(3);
  });

  it('reaches a device that committed before it heard of the halt', () => {
    const play = new Play({ stages: ['2', '100%'] });
    const [a, b] = inStage(play.state, 0) as [string, string];
    play.says(a, 'refused');
    expect(play.orders).toContain(`${b} -`);
    play.says(b, 'committed');
    expect(play.orders).toEqual([`${b} 1.0.0`]);
    play.says(b, 'unproven', { order: 'r-one.2', version: '1.0.0' });
    expect(play.states(0)).toEqual(expect.arrayContaining(['failed', 'cancelled']));
  });

  it('reaches it also when the order before was put back meanwhile, but never over a newer rollout’s', () => {
    const play = new Play({ stages: ['2', '100%'] });
    const [a, b] = inStage(play.state, 0) as [string, string];
    const before = { ...play.effects[0]!.order!, id: 'r-zero.1', rollout: 'r-zero', version: '1.0.0' };
    const previous = { version: '1.0.0', order: before };
    play.state = { ...play.state, targets: play.state.targets.map((t) => ({ ...t, previous })) };
    play.says(a, 'refused').says(b, 'committed');
    expect(play.effects).toMatchObject([
      { device: b, order: { id: 'r-one.2', version: '1.0.0' }, onlyOver: ['r-one', 'r-zero'] },
    ]);
  });

  it('that the gate sees in many small harms halts too', () => {
    const play = new Play({ stages: ['6', '100%'], maxFailures: 3 }, 8);
    play
      .allSay(0, 'committed', { probation: { inferences: 60, errors: 20, notFinite: 0, p95LatencyUs: 1 } })
      .due();
    expect(play.state).toMatchObject({ state: 'halted' });
    expect(play.state.stop).toContain('120 errors in 360 inferences');
  });

  it('leaves the model with a device that had none before', () => {
    const play = new Play({ stages: ['2', '100%'] }, 4, null);
    const [a, b] = inStage(play.state, 0) as [string, string];
    play.says(a, 'committed').says(b, 'refused');
    expect(play.orders).toEqual([`${a} -`, `${b} -`].sort());
    expect(play.state.targets.find((t) => t.device === a)).toMatchObject({
      state: 'committed',
      reason: 'NOTHING_BEFORE',
    });
  });
});

describe('a version that offline keys withdraw', () => {
  it.each(['running', 'paused', 'held', 'aborted', 'done'])(
    'ends a rollout that is %s, and its orders follow',
    (state) => {
      const play = new Play({ stages: ['100%'] }).allSay(0, 'committed');
      play.state = { ...play.state, state: state as Rollout['state'] };
      play.event({ type: 'revoked' });
      expect(play.state).toMatchObject({
        state: 'halted',
        stop: expect.stringContaining('withdrawn by offline keys'),
      });
      expect(play.orders).toHaveLength(4);
      expect(play.orders.every((order) => order.endsWith(' 1.0.0'))).toBe(true);
      expect(play.event({ type: 'revoked' }).effects).toEqual([]);
    },
  );

  it('leaves a device that had none before without any order', () => {
    const play = new Play({ stages: ['100%'] }, 1, null).allSay(0, 'committed');
    expect(play.event({ type: 'revoked' }).orders).toEqual([expect.stringMatching(/ -$/)]);
  });
});

describe('devices that do not answer', () => {
  it('hold the rollout at the deadline, and let it go on by themselves when they come', () => {
    const play = new Play({ stages: ['2', '100%'] });
    const [a, b] = inStage(play.state, 0) as [string, string];
    play.says(a, 'committed').due();
    expect(play.state).toMatchObject({ state: 'held', hold: { detail: '1 devices did not answer in time' } });
    play.says(b, 'committed').due();
    expect(play.state).toMatchObject({ state: 'running', stage: 1, hold: null });
  });

  it('are passed by when told to advance, but not when nobody answered at all', () => {
    const play = new Play({ stages: ['2', '100%'], onInconclusive: 'advance' });
    expect(play.due().state.state).toBe('held');
    play.says(first(play), 'committed').steer('resume').due();
    expect(play.state).toMatchObject({ state: 'running', stage: 1 });
    expect(play.states(0)).toEqual(expect.arrayContaining(['committed', 'ordered']));
  });

  it('get their whole time again when a person resumes', () => {
    const play = new Play();
    play.due().steer('resume');
    expect(dueAt(play.state)).toBe(play.now + 600_000);
  });
});

describe('people', () => {
  it('pause and resume without the stage losing time', () => {
    const play = new Play();
    const deadline = dueAt(play.state)!;
    play.now += 100_000;
    play.steer('pause');
    expect([play.state.state, dueAt(play.state)]).toEqual(['paused', null]);
    play.now += 1_000_000;
    play.steer('resume');
    expect(dueAt(play.state)).toBe(deadline + 1_000_000);
  });

  it('pause: no stage begins, though reports are still heard', () => {
    const play = new Play();
    play.steer('pause').says(first(play), 'committed');
    play.now += 1_000_000;
    play.event({ type: 'tick' });
    expect([play.state.stage, play.states(0)]).toEqual([0, ['committed']]);
    expect(play.steer('resume').state.stage).toBe(1);
  });

  it('approve each stage when the rollout asks for it', () => {
    const play = new Play({ approval: 'each-stage' });
    play.says(first(play), 'committed').due();
    expect(play.state).toMatchObject({ state: 'held', hold: { kind: 'approval' } });
    expect(() => play.steer('resume')).toThrow(expect.objectContaining({ code: 'CONFLICT' }));
    play.steer('approve').allSay(1, 'committed').due();
    expect(play.state.state).toBe('done');
  });

  it('abort: open orders are withdrawn and unconfirmed until acknowledged, what was proved stays', () => {
    const play = new Play({ stages: ['3', '100%'] });
    const [a, b, c] = inStage(play.state, 0) as [string, string, string];
    play.says(a, 'committed').says(b, 'probation').steer('abort');
    expect(play.state.state).toBe('aborted');
    expect(play.orders).toEqual([`${b} -`, `${c} -`].sort());
    expect(play.state.targets.find((t) => t.device === a)?.state).toBe('committed');
    play.says(b, 'cancelled', { reason: 'ORDER_WITHDRAWN' }).says(c, 'committed');
    expect(Object.fromEntries(play.state.targets.map((t) => [t.device, t.state]))).toMatchObject({
      [b]: 'cancelled',
      [c]: 'committed',
    });
  });

  it('roll back what is done: everyone is ordered to the version before', () => {
    const play = new Play({ stages: ['100%'] });
    play.allSay(0, 'committed').due().steer('rollback');
    expect(play.orders).toEqual(play.state.targets.map((t) => `${t.device} 1.0.0`).sort());
    expect(play.states()).toEqual(['unconfirmed', 'unconfirmed', 'unconfirmed', 'unconfirmed']);
    play.says(first(play), 'refused', { order: 'r-one.2', version: '1.0.0', reason: 'BELOW_FLOOR' });
    expect(play.state.targets.find((t) => t.device === first(play))).toMatchObject({
      state: 'unconfirmed',
      reason: 'could not go back: BELOW_FLOOR',
    });
  });

  it('do not hold the latency of the version before against it: a quick one can be undone too', () => {
    const play = new Play({ stages: ['100%'] });
    const forward = play.effects[0]?.order?.probation;
    play.allSay(0, 'committed').due().steer('rollback');
    const back = play.effects.map((effect) => effect.order?.probation);
    expect(back).toEqual(back.map(() => ({ ...forward, maxLatencyRatio: ANY_LATENCY_RATIO })));
    expect(forward?.maxLatencyRatio).toBeLessThan(ANY_LATENCY_RATIO);
  });

  it('restore the order that stood before, not none', () => {
    const play = new Play();
    const before = { ...play.effects[0]!.order!, id: 'r-zero.1', rollout: 'r-zero', version: '1.0.0' };
    play.state = {
      ...play.state,
      targets: play.state.targets.map((t) => ({ ...t, previous: { version: '1.0.0', order: before } })),
    };
    play.steer('abort');
    expect(play.effects).toEqual([
      { type: 'order', device: first(play), model: 'host', order: before, onlyOver: ['r-one', 'r-zero'] },
    ]);
  });

  // biome-ignore format: the table is read by its columns
  it.each([
    ['resume',   'running'], ['approve',  'running'], ['approve', 'paused'],  ['pause',    'paused'],
    ['pause',    'held'],    ['pause',    'done'],    ['resume',  'done'],    ['abort',    'done'],
    ['abort',    'halted'],  ['rollback', 'halted'],  ['resume',  'aborted'], ['rollback', 'rolled-back'],
  ] as const)('are told when %s does not fit a rollout that is %s', (action, state) => {
    const play = new Play();
    play.state = { ...play.state, state };
    expect(() => play.steer(action)).toThrow(expect.objectContaining({ code: 'CONFLICT' }));
  });
});

describe('a device that is erased', () => {
  const erase = (play: Play, device: string) => play.event({ type: 'erased', device });

  it('leaves a nameless place: how it ended is kept, and nothing that it said', () => {
    const play = new Play({ maxFailures: 2 });
    const [gone, next] = inStage(play.state, 1) as [string, string];
    play.says(first(play), 'committed').due().says(gone, 'refused', { reason: 'ITS_WORDS' });
    erase(play, gone);
    erase(play, next);
    expect(JSON.stringify(play.state)).not.toMatch(new RegExp(`"${gone}"|"${next}"|ITS_WORDS`));
    const erased = play.state.targets.filter((t) => t.erased);
    expect(erased.map((t) => [t.device, t.state, t.reason, t.sample])).toEqual([
      ['erased-1', 'failed', 'ERASED', null],
      ['erased-2', 'cancelled', 'ERASED', null],
    ]);
    const before = play.state;
    expect(erase(play, gone).state).toBe(before);
    expect(erase(play, 'd-stranger').state).toBe(before);
  });

  it('is not waited for: the others decide, and a person where there are none', () => {
    const alone = new Play();
    erase(alone, first(alone));
    expect(alone.states(0)).toEqual(['cancelled']);
    expect(alone.due().state).toMatchObject({ state: 'held', hold: { kind: 'inconclusive' } });
    const play = new Play({ stages: ['2', '100%'] });
    const [gone, other] = inStage(play.state, 0) as [string, string];
    play.says(other, 'committed');
    erase(play, gone);
    expect(play.due().state).toMatchObject({ state: 'running', stage: 1 });
  });

  it.each(['rollback', 'abort'] as const)('is not ordered about by %s', (action) => {
    const play = new Play({ stages: ['100%'] });
    for (const device of inStage(play.state, 0).slice(0, 2)) play.says(device, 'committed');
    const names = inStage(play.state, 0);
    for (const device of [names[0]!, names[3]!]) erase(play, device);
    play.steer(action);
    expect(play.orders.join()).not.toContain('erased');
    expect(play.states(0).filter((state) => state === 'unconfirmed').length).toBeGreaterThan(0);
  });
});

describe('why', () => {
  it('names what a rollout waits for, in one line', () => {
    const play = new Play();
    expect(viewOf(play.state, 0).why).toBe(
      `stage 1 of 2: waits for ${first(play)} until 2026-01-01T00:10:00Z`,
    );
    play.says(first(play), 'committed');
    expect(viewOf(play.state, 1).why).toBe('stage 1 of 2: soaks until 2026-01-01T00:00:31Z');
    expect(viewOf(play.due().state, 2).why).toMatch(/^stage 2 of 2: waits for d-\d, d-\d, d-\d until/);
  });

  it('names what a device waits for', () => {
    const play = new Play();
    const view = viewOf(play.state, 0);
    expect(whyDevice(view, first(play))).toBe(
      `${first(play)}, stage 1 of r-one (host@1.1.0, running): is ordered and has not answered: offline, or it has not asked yet, since 2026-01-01T00:00:00Z`,
    );
    expect(whyDevice(view, inStage(play.state, 1)[0]!)).toContain('waits for its stage');
    expect(whyDevice(view, 'd-stranger')).toBeUndefined();
  });
});

describe('a rollout of nobody', () => {
  it('is refused with what to do about it', () => {
    expect(() => newRollout({ group: 'lab' }, 0)).toThrow(
      expect.objectContaining({ code: 'ROLLOUT_INVALID', fix: expect.stringContaining('devices list') }),
    );
  });
});
