/** A sink that is in trouble for a minute is an incident; a peer that restarts, or one refused message, is none. */
import type { Clock, Timer } from '@skein/protocol/ports.ts';
import { MINUTE, type Millis, SECOND } from '@skein/protocol/units.ts';
import type { Incidents } from '../health/incidents.ts';
import type { Sink } from './port.ts';

const LOOK_MS: Millis = 10 * SECOND;
const FAILING_AFTER_MS: Millis = MINUTE;

export interface SinkWatch {
  /** Called at any sign of trouble, as often as it comes. */
  trouble(): void;
  stop(): void;
}

export function watchSink(
  { name, counts }: Pick<Sink, 'name' | 'counts'>,
  { clock, incidents }: { clock: Clock; incidents: Incidents },
): SinkWatch {
  let timer: Timer | undefined;
  let sinceMono: Millis = 0;

  const look = (): void => {
    timer = undefined;
    const { problem, queued, dropped } = counts();
    if (problem === null) {
      incidents.clear('SINK_FAILING', name);
      return;
    }
    timer = clock.after(LOOK_MS, look);
    if (clock.mono() - sinceMono < FAILING_AFTER_MS) return;
    const detail = `${problem}; ${queued} wait, ${dropped} left out`;
    incidents.raise('SINK_FAILING', { source: name, detail });
  };
  return {
    trouble() {
      if (timer) return;
      sinceMono = clock.mono();
      timer = clock.after(LOOK_MS, look);
    },
    stop: () => timer?.cancel(),
  };
}
