import { cronWindows, windowFault } from '@skein/agent/update/cron-windows.ts';
import { DAY, HOUR, MINUTE } from '@skein/protocol/units.ts';
import { describe, expect, it } from 'vitest';

const at = (text: string): number => Date.parse(text);
const rule = (cron: string, duration = 2 * HOUR, zone = 'UTC') => ({ cron, duration, zone });

describe('a maintenance window', () => {
  it('is open from its minute on for its duration, and says when that changes', () => {
    const windows = cronWindows([rule('0 2 * * *')])!;
    const day = '2026-03-03T';
    expect(windows.at(at(`${day}01:59:59.999Z`))).toMatchObject({
      open: false,
      changesAt: at(`${day}02:00Z`),
    });
    expect(windows.at(at(`${day}02:00:00Z`))).toMatchObject({ open: true, changesAt: at(`${day}04:00Z`) });
    expect(windows.at(at(`${day}03:59:59.999Z`))).toMatchObject({ open: true });
    expect(windows.at(at(`${day}04:00:00Z`))).toMatchObject({
      open: false,
      changesAt: at('2026-03-04T02:00Z'),
    });
  });

  it('spans midnight and weekends, and goes with the weekday on which it opened', () => {
    const windows = cronWindows([rule('30 22 * * 5', 60 * HOUR)])!;
    expect(windows.at(at('2026-03-06T22:29Z')).open).toBe(false);
    expect(windows.at(at('2026-03-06T22:30Z')).open).toBe(true);
    expect(windows.at(at('2026-03-09T10:29Z')).open).toBe(true);
    expect(windows.at(at('2026-03-09T10:30Z')).open).toBe(false);
  });

  it('keeps the wall clock of its zone through both changes of daylight saving time', () => {
    const windows = cronWindows([rule('0 4 * * *', HOUR, 'Europe/Berlin')])!;
    expect(windows.at(at('2026-03-28T03:00Z')).open).toBe(true);
    expect(windows.at(at('2026-03-29T02:00Z')).open).toBe(true);
    expect(windows.at(at('2026-03-29T03:00Z')).open).toBe(false);
    expect(windows.at(at('2026-10-25T03:00Z')).open).toBe(true);
    const quarter = cronWindows([rule('0 4 * * *', HOUR, 'Asia/Kathmandu')])!;
    expect(quarter.at(at('2026-03-28T22:15Z')).open).toBe(true);
    expect(quarter.at(at('2026-03-28T22:14Z')).open).toBe(false);
  });

  it('does not open in an hour that the clock leaves out', () => {
    const windows = cronWindows([rule('30 2 * * *', 10 * MINUTE, 'Europe/Berlin')])!;
    expect(windows.at(at('2026-03-29T00:00Z'))).toMatchObject({
      open: false,
      changesAt: at('2026-03-30T00:30Z'),
    });
  });

  it('among several is open while one is', () => {
    const windows = cronWindows([rule('0 2 * * *'), rule('0 3 * * *', 3 * HOUR)])!;
    expect(windows.at(at('2026-03-03T02:30Z'))).toMatchObject({
      open: true,
      changesAt: at('2026-03-03T04:00Z'),
    });
    expect(windows.at(at('2026-03-03T04:00Z'))).toMatchObject({
      open: true,
      changesAt: at('2026-03-03T06:00Z'),
    });
    expect(windows.at(at('2026-03-03T06:00Z'))).toMatchObject({ open: false });
  });

  it('is looked for again when the clock is set back, and ahead no further than a week', () => {
    const windows = cronWindows([rule('0 2 1 1 *')])!;
    const now = at('2026-03-03T12:00Z');
    expect(windows.at(now)).toMatchObject({ open: false, changesAt: now + 8 * DAY });
    expect(windows.at(at('2026-01-01T02:30Z')).open).toBe(true);
    expect(cronWindows([])).toBeUndefined();
  });
});

describe('a window that is none', () => {
  it.each([
    ['61 * * * *', 'UTC', /minute/],
    ['0 2 * *', 'UTC', /./],
    ['30 0 2 * * *', 'UTC', /seconds/],
    ['0 2 * * *', 'Mars/Olympus', /no time zone/],
  ])('%s in %s is refused with the reason', (cron, zone, why) => {
    expect(windowFault(rule(cron, HOUR, zone))).toMatch(why);
    expect(() => cronWindows([rule(cron, HOUR, zone)])).toThrow(/window/);
  });
});
