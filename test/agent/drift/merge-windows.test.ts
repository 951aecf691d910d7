import type { DriftRecord } from '@skein/protocol/records.ts';
import { describe, expect, it } from 'vitest';
import { WindowMerger } from '../../../agent/src/drift/merge-windows.ts';

const windowAt = (window: number, more: Partial<DriftRecord> = {}): DriftRecord => ({
  ts: 1000 * window,
  mono: 120_000 * window,
  boot: 'b',
  model: 'host',
  version: '1.0.0',
  profile: 'ab'.repeat(32),
  window,
  n: 120,
  charts: [{ name: 'cpu', counts: [window, 120 - window], missing: 1, outside: 0, min: -window, max: 1 / 3 }],
  verdict: 'calm',
  ...more,
});

describe('drift windows over a metered link', () => {
  it('are told one by one where bytes are free', () => {
    const merger = new WindowMerger(0);
    const window = windowAt(3);
    expect(merger.take(window)).toEqual([window]);
    expect(merger.flush()).toEqual([]);
  });

  it('tell the first, then add up without losing a count', () => {
    const merger = new WindowMerger(600_000);
    expect(merger.take(windowAt(0))).toHaveLength(1);
    for (const window of [1, 2, 3, 4, 5]) expect(merger.take(windowAt(window))).toEqual([]);
    const [told] = merger.take(windowAt(6));
    expect(told).toMatchObject({ window: 6, ts: 6000, n: 6 * 120, verdict: 'calm' });
    expect(told!.charts).toEqual([
      { name: 'cpu', counts: [21, 720 - 21], missing: 6, outside: 0, min: -6, max: 0.3333 },
    ]);
  });

  it('tell at once when drift begins, and what is held on a clean stop', () => {
    const merger = new WindowMerger(600_000);
    merger.take(windowAt(0));
    merger.take(windowAt(1));
    expect(merger.take(windowAt(2, { verdict: 'drift' }))).toMatchObject([{ n: 240, verdict: 'drift' }]);
    merger.take(windowAt(3, { verdict: 'drift' }));
    expect(merger.flush()).toMatchObject([{ window: 3, n: 120 }]);
  });

  it('never add counts of another version, profile or model', () => {
    const merger = new WindowMerger(600_000);
    merger.take(windowAt(0));
    merger.take(windowAt(1));
    expect(merger.take(windowAt(2, { version: '1.1.0' }))).toMatchObject([{ version: '1.0.0', n: 120 }]);
    expect(merger.take(windowAt(3, { model: 'other' }))).toMatchObject([{ model: 'other', n: 120 }]);
    expect(merger.flush()).toMatchObject([{ version: '1.1.0', n: 120 }]);
  });
});
