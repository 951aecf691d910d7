import type { PredictionRecord } from '@skein/protocol/records.ts';
import { describe, expect, it } from 'vitest';
import { createSampler, KEEPS, type SamplingRule } from '../../../agent/src/outbox/sampling.ts';
import { prediction } from '../../contracts/outbox.contract.ts';
import { below, pick, seeded } from '../../protocol/batch/random.ts';

const random = seeded(11);
const entropy = { bytes: (n: number) => Uint8Array.from({ length: n }, () => below(random, 256)) };
const of = (i: number, more: Partial<PredictionRecord> = {}): PredictionRecord => ({
  ...prediction(i),
  label: 'usual',
  score: 0.9,
  ...more,
});
/** Numbers of the records that are kept. */
const keptBy = (rule: SamplingRule, records: PredictionRecord[]): number[] => {
  const keep = createSampler({ m: rule }, entropy);
  return records.filter(keep).map(({ mono }) => mono);
};
const twelve = Array.from({ length: 12 }, (_, i) => of(i));

describe('sampling of predictions', () => {
  it('keeps all of a model without a rule', () => {
    const keep = createSampler({ other: { keep: 'every', every: 9 } }, entropy);
    expect(twelve.every(keep)).toBe(true);
    expect(twelve.every(createSampler({}, entropy))).toBe(true);
  });

  it('keeps each Nth from the first on, for each source by itself', () => {
    expect(keptBy({ keep: 'every', every: 4 }, twelve)).toEqual([0, 4, 8]);
    const mixed = twelve.map((record, i) => ({ ...record, source: i % 2 ? 'a' : 'b' }));
    expect(keptBy({ keep: 'every', every: 3 }, mixed)).toEqual([0, 1, 6, 7]);
  });

  it('keeps about the share it is told', () => {
    const many = Array.from({ length: 4000 }, (_, i) => of(i));
    expect(keptBy({ keep: 'share', share: 0.25 }, many).length / 4000).toBeCloseTo(0.25, 1);
    expect(keptBy({ keep: 'share', share: 0 }, many)).toEqual([]);
  });

  it('keeps what is notable: changes, low scores, and one now and then', () => {
    const odd = twelve.map((record, i) => ({
      ...record,
      label: i === 5 ? 'odd' : 'usual',
      score: i === 9 ? 0.3 : 0.9,
    }));
    expect(keptBy({ keep: 'notable', below: 0.5 }, odd)).toEqual([0, 5, 6, 9]);
    expect(keptBy({ keep: 'notable', atLeast: 4 }, twelve)).toEqual([0, 4, 8]);
  });

  it('keeps every alarm, whatever the rule', () => {
    for (const keep of KEEPS) {
      const rule = { keep, every: 1000, share: 0, below: 0 };
      const alarms = twelve.map((record, i): PredictionRecord => ({ ...record, alarm: i % 3 ? 0 : 1 }));
      expect(keptBy(rule, alarms), keep).toEqual(expect.arrayContaining([0, 3, 6, 9]));
    }
  });

  it('decides the same again for the same history', () => {
    for (let seed = 1; seed <= 50; seed++) {
      const dice = seeded(seed);
      const rule = { keep: pick(dice, ['every', 'notable'] as const), every: 2 + below(dice, 9), below: 0.5 };
      const history = Array.from({ length: 60 }, (_, i) =>
        of(i, { label: `l${below(dice, 2)}`, score: dice(), alarm: dice() < 0.1 ? 1 : 0 }),
      );
      expect(keptBy(rule, history), `seed ${seed}`).toEqual(keptBy(rule, history));
    }
  });
});
