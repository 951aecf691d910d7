import { describe, expect, it } from 'vitest';
import { judgeStanding, type Standing } from '../../../agent/src/health/standing.ts';

const NOW = 1_763_000_000_000;
const DAY = 86_400_000;
const raised = (change: Partial<Standing>) =>
  judgeStanding({
    now: NOW,
    timeFloor: NOW - DAY,
    refreshedAt: NOW - 1000,
    refreshEveryMs: DAY / 4,
    dropped: 5,
    droppedBefore: 5,
    ...change,
  })
    .filter((verdict) => verdict.raised)
    .map((verdict) => verdict.code);

describe('the agent’s own standing', () => {
  it('is calm when nothing is wrong, also before the first refresh', () => {
    expect(raised({})).toEqual([]);
    expect(raised({ refreshedAt: 0 })).toEqual([]);
  });

  it('warns of a clock behind what was already signed', () => {
    expect(raised({ now: 0 })).toEqual(['CLOCK_UNTRUSTED']);
    expect(raised({ timeFloor: NOW + 60_000 })).toEqual([]);
  });

  it('warns of metadata older than a day, also when the clock was set back', () => {
    expect(raised({ refreshedAt: NOW - DAY - 1 })).toEqual(['METADATA_STALE']);
    expect(raised({ now: 0, timeFloor: NOW, refreshedAt: NOW - 2 * DAY })).toContain('METADATA_STALE');
  });

  it('warns while records are being dropped, not of old drops', () => {
    expect(raised({ dropped: 6 })).toEqual(['OUTBOX_DROPPING']);
  });
});
