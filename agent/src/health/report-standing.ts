/** Judges the agent's own standing once a minute. */
import type { Clock, Timer } from '@skein/protocol/ports.ts';
import { MINUTE, type Millis } from '@skein/protocol/units.ts';
import type { Outbox } from '../outbox/port.ts';
import type { Trust } from '../update/ports.ts';
import type { Incidents } from './incidents.ts';
import { judgeStanding } from './standing.ts';

export interface StandingDeps {
  clock: Clock;
  outbox: Outbox;
  trust: Trust;
  incidents: Incidents;
  /** Highest time this device has reason to believe. */
  timeFloor(): Millis;
  /** How often metadata are refreshed. */
  refreshEveryMs: Millis;
}

export function reportStanding({ clock, outbox, trust, incidents, timeFloor, refreshEveryMs }: StandingDeps) {
  let timer: Timer | undefined;
  let droppedBefore: number | undefined;

  const look = (): void => {
    timer = clock.after(MINUTE, look);
    const dropped = outbox.ledger().reduce((sum, entry) => sum + entry.dropped, 0);
    const verdicts = judgeStanding({
      now: clock.now(),
      timeFloor: timeFloor(),
      refreshedAt: trust.view()?.refreshedAt ?? 0,
      refreshEveryMs,
      dropped,
      droppedBefore: droppedBefore ?? dropped,
    });
    droppedBefore = dropped;
    for (const { code, raised, detail } of verdicts)
      if (raised) incidents.raise(code, { detail });
      else incidents.clear(code);
  };

  return { start: look, stop: (): void => timer?.cancel() };
}
