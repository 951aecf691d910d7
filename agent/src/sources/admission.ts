/**
 * The door between a source and its pipeline. A model slower than its source must not make readings pile up:
 * - Values keep their order (windows are made of them): at most {@link MAX_UNDER_WAY} are under way; beyond that a source
 *   that can waits for {@link Admission.room}, and what comes all the same is left out and counted.
 * - Of pictures the latest wins: one is under way and one is held; a newer one takes its place, which is counted.
 */
import type { Reading } from './port.ts';

export const MAX_UNDER_WAY = 64;

export interface Admission {
  offer(reading: Reading): void;
  room(): Promise<void> | undefined;
  /** When everything that was let in is done. */
  idle(): Promise<void>;
  /** Readings that were left out. */
  readonly dropped: number;
}

/** @param take never rejects. `droppedOne` is told of each reading that is left out. */
export function admission(
  take: (reading: Reading) => Promise<void>,
  droppedOne: (reading: Reading) => void = () => {},
): Admission {
  const underWay = new Set<Promise<void>>();
  const waiting: (() => void)[] = [];
  let held: Reading | undefined;
  let picture = false;
  let dropped = 0;

  const drop = (reading: Reading): void => {
    dropped++;
    droppedOne(reading);
  };
  const begin = (reading: Reading): void => {
    if (reading.picture) picture = true;
    const done = take(reading).then(() => {
      underWay.delete(done);
      if (reading.picture) next();
      for (const wake of waiting.splice(0)) wake();
    });
    underWay.add(done);
  };
  const next = (): void => {
    const latest = held;
    picture = false;
    held = undefined;
    if (latest) begin(latest);
  };

  return {
    offer(reading) {
      if (reading.picture && picture) {
        if (held) drop(held);
        held = reading;
      } else if (underWay.size >= MAX_UNDER_WAY) drop(reading);
      else begin(reading);
    },
    room() {
      if (underWay.size < MAX_UNDER_WAY && !held) return undefined;
      return new Promise((resolve) => waiting.push(resolve));
    },
    async idle() {
      while (underWay.size > 0) await Promise.all(underWay);
    },
    get dropped() {
      return dropped;
    },
  };
}
