import { judgeExpiry } from '@skein/protocol/trust/expiry.ts';
import { DAY } from '@skein/protocol/units.ts';
import { describe, expect, it } from 'vitest';

const NOW = Date.parse('2026-06-01T00:00:00Z');
const left = (days: number) => NOW + days * DAY;

describe('an expiry', () => {
  it.each([
    ['root', 181, undefined],
    ['root', 180, 'notice'],
    ['root', 90, 'warning'],
    ['root', 30, 'critical'],
    ['root', -1, 'critical'],
    ['targets', 91, undefined],
    ['targets', 90, 'notice'],
    ['targets', 45, 'warning'],
    ['targets', 14, 'critical'],
    ['timestamp', 3.5, undefined],
    ['timestamp', 3, 'warning'],
    ['snapshot', 1, 'critical'],
  ] as const)('of %s in %d days is %s', (role, days, severity) => {
    expect(judgeExpiry(role, left(days), NOW)?.severity).toBe(severity);
  });

  it('names what has to be done: people sign roots and targets, the server its own documents', () => {
    expect(judgeExpiry('root', NOW, NOW)?.code).toBe('ROOT_EXPIRING');
    expect(judgeExpiry('targets', NOW, NOW)?.code).toBe('TARGETS_EXPIRING');
    expect(judgeExpiry('snapshot', NOW, NOW)?.code).toBe('ONLINE_STALE');
  });
});
