/** Handlers that remember, and wait without sleeping. */
import type { Reading, SourceHandlers } from '../../../agent/src/sources/port.ts';

export interface Listening extends SourceHandlers {
  readings: Reading[];
  failures: Error[];
  ends: number;
  until(fits: () => boolean): Promise<void>;
}

export function listening(more: Pick<SourceHandlers, 'room' | 'quiet'> = {}): Listening {
  const wakers = new Set<() => void>();
  const wake = () => {
    for (const each of [...wakers]) each();
  };
  const heard: Listening = {
    ...more,
    readings: [],
    failures: [],
    ends: 0,
    reading(reading) {
      heard.readings.push(reading);
      wake();
    },
    failed(error) {
      heard.failures.push(error);
      wake();
    },
    ended() {
      heard.ends += 1;
      wake();
    },
    until: (fits) =>
      new Promise((resolve) => {
        const look = () => {
          if (!fits()) return;
          wakers.delete(look);
          resolve();
        };
        wakers.add(look);
        look();
      }),
  };
  return heard;
}
