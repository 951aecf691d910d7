import type { DeviceSummary } from '@skein/protocol/api.ts';
import { describe, expect, it } from 'vitest';
import { appended, type Reading, readingOf } from '../../../fleet-server/dashboard/src/data/live.ts';
import { extended, type History, withGaps } from '../../../fleet-server/dashboard/src/device/columns.ts';
import { binRange, histogramShape, sharesOf } from '../../../fleet-server/dashboard/src/drift/histogram.ts';
import { countOf, selectDevices } from '../../../fleet-server/dashboard/src/fleet/select.ts';
import { sparkPath } from '../../../fleet-server/dashboard/src/ui/spark-path.ts';

const reading = (ts: number, score = ts): Reading => ({ ts, values: { score } });

describe('live readings', () => {
  it('are bounded, ordered and without repetition', () => {
    let readings: readonly Reading[] = [];
    for (const ts of [1, 2, 2, 1, 3, 4]) readings = appended(readings, reading(ts), 3);
    expect(readings.map((each) => each.ts)).toEqual([2, 3, 4]);
  });

  it('keep the numbers of a state message', () => {
    const state = { ts: 5, model: 'host', label: 'usual', score: 0.2, cpu: 0.5 };
    expect(readingOf(state)).toEqual({ ts: 5, values: { score: 0.2, cpu: 0.5 } });
  });

  it('extend stored history only by what is newer, within the bound', () => {
    const history: History = { ts: [1, 2], values: { score: [1, 2], cpu: [0, 0] } };
    const next = extended(history, [reading(2), reading(3), reading(4)], 3);
    expect(next).toEqual({ ts: [2, 3, 4], values: { score: [2, 3, 4], cpu: [0, null, null] } });
    expect(extended(next, [reading(4), { ts: 5, values: { other: 1 } }], 3)).toBe(next);
  });

  it('show a silence as a gap', () => {
    expect(withGaps([0, 10, 20, 200, 210], [1, 2, 3, 4, 5])).toEqual([
      [0, 10, 20, 30, 200, 210],
      [1, 2, 3, null, 4, 5],
    ]);
    expect(withGaps([0, 10, 20, 200], [1, 2, 3, 4], 500)[0]).toEqual([0, 10, 20, 200]);
    expect(withGaps([], [])).toEqual([[], []]);
  });
});

describe('sparklines', () => {
  it('need two points, scale to what must be in view, and place the limit', () => {
    expect(sparkPath([1])).toBeUndefined();
    expect(sparkPath([0, 1])?.line).toBe('M0 26.5L100 1.5');
    expect(sparkPath([0, 0, Number.NaN], { floor: 0, ceiling: 1, limit: 1 })).toMatchObject({ limitY: 1.5 });
    expect(sparkPath([0, 1], { limit: 9 })?.limitY).toBeUndefined();
  });
});

describe('drift histograms', () => {
  it('compare shares, whatever the counts', () => {
    expect(sharesOf([1, 3])).toEqual([0.25, 0.75]);
    expect(sharesOf([0, 0])).toEqual([0, 0]);
    const shape = histogramShape([0.5, 0.5], [30, 10], (i) => String(i));
    expect(shape.bars.map((bar) => bar.height)).toEqual([38, 12.67]);
    expect(shape.outline).toBe('M0 14.67H50V14.67H100');
  });

  it('name what each bin covers', () => {
    expect([0, 1, 2].map((i) => binRange([1, 2], i, String))).toEqual(['≤ 1', '1 … 2', '> 2']);
  });
});

describe('the fleet table', () => {
  const device = (id: string, rest: Partial<DeviceSummary> = {}): DeviceSummary => ({
    id,
    name: '',
    groups: [],
    online: true,
    lastSeen: 0,
    model: 'host@1.0.0',
    predictions: 0,
    warnings: 0,
    drift: 'calm',
    revoked: false,
    ...rest,
  });
  const devices = [
    device('d-10'),
    device('d-2', { groups: ['roof'] }),
    device('d-off', { online: false }),
    device('d-warn', { warnings: 1 }),
    device('d-gone', { online: false, revoked: true }),
  ];

  it('puts whoever needs a person first and the revoked last', () => {
    expect(selectDevices(devices, undefined, '').map((d) => d.id)).toEqual([
      'd-warn',
      'd-off',
      'd-2',
      'd-10',
      'd-gone',
    ]);
  });

  it('filters by state and by every word', () => {
    expect(selectDevices(devices, 'offline', '').map((d) => d.id)).toEqual(['d-off']);
    expect(selectDevices(devices, undefined, 'ROOF host').map((d) => d.id)).toEqual(['d-2']);
    expect(countOf(devices, 'online')).toBe(3);
  });
});
