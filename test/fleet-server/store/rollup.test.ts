import { DAY, MINUTE } from '@skein/protocol/units.ts';
import { describe, expect, it } from 'vitest';
import { chooseResolution, mergePoints, rollUp } from '../../../fleet-server/src/store/rollup.ts';

const at = (ts: number, score: number) => ({ ts, values: { score } });
const POLICY = { rawMs: 7 * DAY, minuteMs: 90 * DAY, hourMs: 730 * DAY };

describe('readings summed up', () => {
  it('keep number, sum, least and greatest of each minute and series', () => {
    const points = rollUp(
      [at(61_000, 5), at(1000, 1), at(59_999, 3), { ts: 2000, values: { t: -4 } }],
      'minute',
    );
    expect(points).toEqual([
      {
        ts: 0,
        n: { score: 2, t: 1 },
        sum: { score: 4, t: -4 },
        min: { score: 1, t: -4 },
        max: { score: 3, t: -4 },
      },
      { ts: MINUTE, n: { score: 1 }, sum: { score: 5 }, min: { score: 5 }, max: { score: 5 } },
    ]);
  });

  it('are the same however they came: at once, in parts, late', () => {
    const samples = Array.from({ length: 500 }, (_, i) => at((i * 7919 * 1000) % DAY, (i * 31) % 97));
    const [a, b, c] = [samples.slice(0, 100), samples.slice(100, 350), samples.slice(350)];
    for (const resolution of ['minute', 'hour'] as const) {
      const parts = [c, a, b].map((part) => rollUp(part, resolution));
      expect(mergePoints(...parts)).toEqual(rollUp(samples, resolution));
    }
  });

  it('leave out what is no number, and bound the series of a point', () => {
    const odd = { ts: 0, values: { a: Number.NaN, b: Number.POSITIVE_INFINITY, c: 1 } };
    expect(rollUp([odd], 'hour')[0]!.n).toEqual({ c: 1 });
    const many = Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [`m${i}`, i]));
    expect(Object.keys(rollUp([{ ts: 0, values: many }], 'hour')[0]!.n)).toHaveLength(128);
  });

  it.each([
    ['a few minutes', 5 * MINUTE, 300, 'raw'],
    ['a day at 1 Hz', DAY, 86_400, 'minute'],
    ['a week in few records', 6 * DAY, 100, 'raw'],
    ['a week in many records', 6 * DAY, 500_000, 'hour'],
    ['beyond what is kept one by one', 8 * DAY, 100, 'hour'],
    ['a year', 365 * DAY, 0, 'hour'],
  ])('are shown of %s as fine as is kept and fits', (_, span, rawRecords, resolution) => {
    const now = 1000 * DAY;
    const question = { fromMs: now - span, toMs: now, limit: 1500, rawRecords };
    expect(chooseResolution(question, POLICY, now)).toBe(resolution);
  });
});
