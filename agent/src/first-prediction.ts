/** What a device is there for comes before what is told of it: who can wait for its first prediction does, for a while. */
import type { Clock, Log } from '@skein/protocol/ports.ts';
import type { Millis } from '@skein/protocol/units.ts';
import { type AtLatest, atLatest } from './at-latest.ts';

/** Said once in a process's life, with the milliseconds since it began: how long the device was blind. */
export const FIRST_PREDICTION = 'first prediction';

export interface FirstPrediction {
  /** Of all predictions only the first does something. */
  made(model: string): void;
  /** What is `begun` at the latest after a while is not put off longer than to the first prediction. */
  hurries(begun: AtLatest): AtLatest;
  /** Resolves a moment after it, at the latest after `ms`. */
  orAfter(ms: Millis): Promise<void>;
}

export function firstPrediction(clock: Clock, log: Log): FirstPrediction {
  const waiting: AtLatest[] = [];
  let isMade = false;

  const hurries = (begun: AtLatest): AtLatest => {
    if (isMade) begun.hurry();
    else waiting.push(begun);
    return begun;
  };
  return {
    made(model) {
      if (isMade) return;
      isMade = true;
      log.info(FIRST_PREDICTION, { model, afterMs: Math.round(clock.mono()) });
      for (const begun of waiting.splice(0)) begun.hurry();
    },
    hurries,
    orAfter: (ms) => new Promise((resolve) => hurries(atLatest(clock, resolve)).within(ms)),
  };
}
