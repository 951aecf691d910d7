import { describe, expect, it } from 'vitest';
import { ageJudge } from '../../../agent/src/outbox/ages.ts';
import {
  DROP_POLICIES,
  type Holding,
  type Limits,
  planDrops,
  type Segment,
} from '../../../agent/src/outbox/retention.ts';
import { cutAtAlarms } from '../../../agent/src/outbox/urgent.ts';
import { below, pick, type Random, seeded } from '../../protocol/batch/random.ts';

const DAY_ONE = Date.UTC(2026, 0);
const segment = (i: number, more: Partial<Segment> = {}): Segment => ({
  ...{ from: i * 10, to: i * 10 + 9, size: 100, at: DAY_ONE + i * 1000, alarms: 0 },
  ...more,
});
const holdingOf = (open: Segment[], kept: number[] = []): Holding => ({
  totalBytes: [...open.map((s) => s.size), ...kept].reduce((sum, size) => sum + size, 0),
  kept: () => kept,
  open: () => open,
});
const limits = (capBytes: number, more: Partial<Limits> = {}): Limits => ({
  ...{ capBytes, policy: 'oldest', expiredBefore: undefined, newHoles: 128 },
  ...more,
});
const starts = (segments: readonly Segment[]): number[] =>
  segments.map(({ from }) => from / 10).sort((a, b) => a - b);
const ten = Array.from({ length: 10 }, (_, i) => segment(i));

describe('a stream at its cap', () => {
  const few = holdingOf(
    [20, 20, 5, 5].map((size, i) => segment(i, { size })),
    [10, 10],
  );

  it.each([
    [70, 0, 0],
    [65, 1, 0],
    [50, 2, 0],
    [49, 2, 1],
    [5, 2, 3],
    [0, 2, 4],
  ])('gives up the fewest, what is stored elsewhere first: cap %i', (cap, kept, open) => {
    const plan = planDrops(few, limits(cap));
    expect(plan).toMatchObject({ kept, aged: [] });
    expect(starts(plan.open)).toEqual([0, 1, 2, 3].slice(0, open));
  });

  it('thins out evenly and keeps both ends with `downsample`', () => {
    const half = planDrops(holdingOf(ten), limits(600, { policy: 'downsample' }));
    expect(starts(half.open)).toEqual([1, 3, 5, 7]);
    const rest = holdingOf(ten.filter((s) => !half.open.includes(s)));
    const quarter = planDrops(rest, limits(400, { policy: 'downsample' }));
    expect(starts(quarter.open), 'the smallest holes first').toEqual([2, 8]);
  });

  it('spares alarms with `keep-alarms`, until nothing else is left', () => {
    const some = ten.map((s, i) => ({ ...s, alarms: Number(i === 1 || i === 4) }));
    const plan = (cap: number) => planDrops(holdingOf(some), limits(cap, { policy: 'keep-alarms' })).open;
    expect(starts(plan(700))).toEqual([0, 2, 3]);
    expect(starts(plan(200))).toEqual([0, 2, 3, 5, 6, 7, 8, 9]);
    expect(starts(plan(100))).toEqual([0, 1, 2, 3, 5, 6, 7, 8, 9]);
  });

  it('gives up by age whatever the policy, and what an unset clock dated with what follows it', () => {
    const dated = ten.map((s, i) => (i === 1 ? { ...s, at: 5000 } : s));
    for (const policy of DROP_POLICIES) {
      const before = DAY_ONE + 4000;
      const plan = planDrops(holdingOf(dated), limits(10_000, { policy, expiredBefore: before }));
      expect(starts(plan.aged), policy).toEqual([0, 1, 2]);
      expect(plan.open, policy).toEqual([]);
    }
    const unset = planDrops(holdingOf([segment(0, { at: 5 })]), limits(10_000, { expiredBefore: DAY_ONE }));
    expect(unset.aged, 'nobody knows how old it is').toEqual([]);
  });

  it('fits the cap, gives nothing up twice and opens no more ranges than it may, whatever it holds', () => {
    for (let seed = 1; seed <= 400; seed++) {
      const random = seeded(seed);
      const open = randomSegments(random);
      const policy = pick(random, DROP_POLICIES);
      const newHoles = below(random, 6);
      const capBytes = below(random, 3000);
      const holding = holdingOf(open, [below(random, 500)]);
      const expiredBefore = random() < 0.3 ? DAY_ONE + below(random, 30_000) : undefined;
      const plan = planDrops(holding, { capBytes, policy, expiredBefore, newHoles });
      const gone = [...plan.aged, ...plan.open];
      const hint = `seed ${seed} ${policy}`;
      expect(new Set(gone.map((s) => s.from)).size, hint).toBe(gone.length);
      const left = open.filter((s) => !gone.includes(s));
      const keptBytes = plan.kept > 0 ? 0 : [...holding.kept()].reduce((a, b) => a + b, 0);
      const bytes = left.reduce((sum, s) => sum + s.size, keptBytes);
      expect(bytes <= capBytes || left.length === 0, hint).toBe(true);
      const opened = holesIn(left) - holesIn(open.filter((s) => !plan.aged.includes(s)));
      expect(opened, hint).toBeLessThanOrEqual(newHoles);
    }
  });
});

function randomSegments(random: Random): Segment[] {
  let next = 0;
  return Array.from({ length: below(random, 40) }, (_, i) => {
    const from = next + (random() < 0.2 ? below(random, 20) : 0);
    next = from + 1 + below(random, 30);
    const more = { size: below(random, 200), alarms: below(random, 2), at: DAY_ONE + i * 1000 };
    return { from, to: next - 1, ...more };
  });
}

/** Ranges missing between what is there. */
const holesIn = (left: readonly Segment[]): number =>
  left.filter((s, i) => i > 0 && s.from > left[i - 1]!.to + 1).length;

describe('the age of a record', () => {
  it('is judged by a steady clock, and by none for an hour after it jumped', () => {
    let [now, mono] = [5000, 0];
    const judge = ageJudge({ now: () => now, mono: () => mono, after: () => ({ cancel() {} }) });
    expect(judge(1000)).toBe(4000);
    expect(judge(undefined)).toBeUndefined();
    now = DAY_ONE;
    expect(judge(1000)).toBeUndefined();
    mono += 3_600_000;
    now += 3_600_000;
    expect(judge(1000)).toBe(now - 1000);
  });
});

describe('batches of a stream that keeps alarms', () => {
  const run = (text: string): boolean[] => [...text].map((c) => c === 'A');
  const calm = '.'.repeat(64);

  it.each([
    ['...', 3],
    [`${calm}${calm}`, 128],
    [`${calm}A`, 64],
    ['..A..A...', 9],
    [`..A${calm}..`, 3],
    [`A${'.'.repeat(63)}A`, 65],
  ])('are cut where a long calm run begins or ends: %s', (text, cut) => {
    expect(cutAtAlarms(run(text))).toBe(cut);
  });
});
