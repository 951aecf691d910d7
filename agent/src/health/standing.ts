/** Warnings that come from the agent's own standing, judged once a minute. Pure. */
import { DAY, HOUR, type Millis } from '@skein/protocol/units.ts';
import type { Verdict } from './judge.ts';

export interface Standing {
  now: Millis;
  /** Highest time this device has reason to believe. */
  timeFloor: Millis;
  /** Last complete refresh of signed metadata; 0: none yet. */
  refreshedAt: Millis;
  /** How often it is refreshed. */
  refreshEveryMs: Millis;
  /** Records given up so far, and at the last look. */
  dropped: number;
  droppedBefore: number;
}

/** A clock may be this far behind what was signed and still be called right. */
const CLOCK_SLACK: Millis = HOUR;

/** All of them each time, raised or not; raising twice says nothing new. */
export function judgeStanding({
  now,
  timeFloor,
  refreshedAt,
  refreshEveryMs,
  dropped,
  droppedBefore,
}: Standing): Verdict[] {
  const time = (at: Millis) => new Date(at).toISOString();
  return [
    {
      code: 'CLOCK_UNTRUSTED',
      raised: now < timeFloor - CLOCK_SLACK,
      detail: `the clock says ${time(now)}, it is at least ${time(timeFloor)}`,
    },
    {
      code: 'METADATA_STALE',
      raised: refreshedAt > 0 && Math.max(now, timeFloor) - refreshedAt > Math.max(DAY, 2 * refreshEveryMs),
      detail: `last refreshed at ${time(refreshedAt)}`,
    },
    {
      code: 'OUTBOX_DROPPING',
      raised: dropped > droppedBefore,
      detail: `${dropped} records dropped so far`,
    },
  ];
}
