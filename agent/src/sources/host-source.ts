/**
 * This machine's own metrics as readings, on a beat that does not drift: beat k is due at start + 250 ms + k × period,
 * however long a snapshot took. A beat that is missed by more than a period (suspended machine) is skipped, not
 * caught up. The first snapshot is taken at once and the first reading follows 250 ms later, so that a prediction
 * is there before anybody wonders.
 */
import type { Clock, Timer } from '@skein/protocol/ports.ts';
import type { Millis } from '@skein/protocol/units.ts';
import { NO_TEMPERATURE } from './host-counters.ts';
import { type HostCounters, hostRates } from './host-rates.ts';
import type { Source, SourceHandlers } from './port.ts';

const FIRST_AFTER_MS: Millis = 250;

export interface HostSourceOptions {
  name: string;
  periodMs: Millis;
  stallAfterMs: Millis;
}

/** @param read takes a snapshot; it may throw, which is reported and tried again at the next beat. */
export function hostSource(options: HostSourceOptions, clock: Clock, read: () => HostCounters): Source {
  let timer: Timer | undefined;
  let before: HostCounters | undefined;
  let due = 0;

  const beat = (handlers: SourceHandlers): void => {
    try {
      const after = read();
      if (before) handlers.reading(readingOf(options.name, clock, before, after));
      before = after;
    } catch (error) {
      handlers.failed(error instanceof Error ? error : new Error(String(error)));
    }
  };
  const schedule = (handlers: SourceHandlers): void => {
    timer = clock.after(Math.max(0, due - clock.mono()), () => {
      const late = clock.mono() - due;
      due += options.periodMs * Math.max(1, Math.ceil(late / options.periodMs));
      schedule(handlers);
      beat(handlers);
    });
  };

  return {
    name: options.name,
    stallAfterMs: options.stallAfterMs,
    start(handlers) {
      before = undefined;
      due = clock.mono() + FIRST_AFTER_MS;
      schedule(handlers);
      beat(handlers);
    },
    async stop() {
      timer?.cancel();
    },
  };
}

const readingOf = (source: string, clock: Clock, before: HostCounters, after: HostCounters) => ({
  ts: clock.now(),
  mono: clock.mono(),
  source,
  values: {
    ...hostRates(before, after),
    ...(after.temp_c > NO_TEMPERATURE ? { temp_c: after.temp_c } : {}),
  },
});
