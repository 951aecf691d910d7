import { type GateQuestion, type GateSample, judgeStage } from '@skein/fleet-server/rollouts/gate.ts';
import { describe, expect, it } from 'vitest';

const sample = (change: Partial<GateSample> = {}): GateSample => ({
  inferences: 100,
  errors: 0,
  p95LatencyUs: 1000,
  previousP95Us: 1000,
  ...change,
});
const times = <T>(n: number, item: T): T[] => Array.from({ length: n }, () => item);
const ask = (change: Partial<GateQuestion>) =>
  judgeStage({
    treated: [sample()],
    control: [],
    unproven: 0,
    maxErrorRate: 0.01,
    maxLatencyRatio: 4,
    ...change,
  });

describe('the gate', () => {
  // biome-ignore format: the table is read by its columns
  it.each([
    ['nothing wrong advances',                       { treated: times(3, sample()) },                                                'advance'],
    ['a single error in a hundred advances',         { treated: [sample({ errors: 1 })] },                                           'advance'],
    ['many errors halt',                             { treated: times(3, sample({ errors: 8 })) },                                   'halt'],
    ['as many errors in the control are no harm',    { treated: times(3, sample({ errors: 8 })), control: times(3, sample({ errors: 8 })) }, 'advance'],
    ['more than the control halts',                  { treated: times(5, sample({ errors: 30 })), control: times(5, sample({ errors: 5 })) }, 'halt'],
    ['fewer than the control advances',              { treated: times(5, sample({ errors: 5 })), control: times(5, sample({ errors: 30 })) }, 'advance'],
    ['one slow device of one is not enough to tell', { treated: [sample({ p95LatencyUs: 9000 })] },                                  'advance'],
    ['a few slow ones ask a person',                 { treated: times(4, sample({ p95LatencyUs: 9000 })) },                          'hold'],
    ['many slow ones halt',                          { treated: times(12, sample({ p95LatencyUs: 9000 })) },                         'halt'],
    ['what a busy scheduler does is no harm',        { treated: times(12, sample({ p95LatencyUs: 5000, previousP95Us: 100 })) },     'advance'],
    ['slow boards that always were are no harm',     { treated: times(12, sample({ p95LatencyUs: 9000, previousP95Us: 8500 })) },    'advance'],
    ['nobody proved anything',                       { treated: [], unproven: 3 },                                                   'inconclusive'],
    ['most stayed unproven',                         { treated: [sample()], unproven: 2 },                                           'inconclusive'],
    ['no error is allowed and one came',             { treated: [sample({ errors: 1 })], maxErrorRate: 0 },                          'halt'],
  ] as const)('%s', (_, question, decision) => {
    expect(ask(question as Partial<GateQuestion>).decision).toBe(decision);
  });

  it('says in words what it saw', () => {
    expect(ask({ treated: times(3, sample({ errors: 8 })) }).detail).toBe(
      '24 errors in 300 inferences, 0.01 allowed',
    );
  });
});
