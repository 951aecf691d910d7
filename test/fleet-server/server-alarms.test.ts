import { serverAlarms } from '@skein/fleet-server/server-alarms.ts';
import { MIB, MINUTE } from '@skein/protocol/units.ts';
import { describe, expect, it } from 'vitest';

const now = 100 * MINUTE;
const room = { fullSince: null, free: 5_000 * MIB };
const reached = { unreachedSince: null };

describe('what of the server itself asks for a person', () => {
  it('is nothing while it has room and reaches its broker', () => {
    expect(serverAlarms({ disk: room, broker: reached, now })).toEqual([]);
  });

  it('is a full disk, from the moment it was', () => {
    const disk = { fullSince: now - 5, free: 3.2 * MIB };
    expect(serverAlarms({ disk, broker: reached, now })).toMatchObject([
      { code: 'DISK_FULL', since: now - 5, text: expect.stringContaining('3 MiB') },
    ]);
  });

  it.each([
    [0, []],
    [MINUTE - 1, []],
    [MINUTE, ['UNREACHABLE']],
    [61 * MINUTE, ['UNREACHABLE']],
  ])('is a broker that was not reached for a minute: %i ms', (away, codes) => {
    const alarms = serverAlarms({ disk: room, broker: { unreachedSince: now - away }, now });
    expect(alarms.map(({ code }) => code)).toEqual(codes);
    for (const alarm of alarms) {
      expect(alarm.text).toContain(`${Math.floor(away / MINUTE)} min`);
      expect(alarm.since).toBe(now - away);
    }
  });

  it('is both at once, the one that loses more first', () => {
    const alarms = serverAlarms({ disk: { fullSince: 0, free: 0 }, broker: { unreachedSince: 0 }, now });
    expect(alarms.map(({ code }) => code)).toEqual(['DISK_FULL', 'UNREACHABLE']);
  });
});
