/** Something that is begun once: as soon as somebody hurries it, at the latest after a while, and never once cancelled. */
import type { Clock, Timer } from '@skein/protocol/ports.ts';
import type { Millis } from '@skein/protocol/units.ts';

export interface AtLatest {
  /** From now on it will begin, within `ms`. */
  within(ms: Millis): void;
  /** Begins it in a moment, after what is going on now; nothing happens before {@link within}, nor a second time. */
  hurry(): void;
  cancel(): void;
}

export function atLatest(clock: Clock, begin: () => void): AtLatest {
  let timer: Timer | undefined;
  let hurried = false;

  const run = (): void => {
    timer = undefined;
    begin();
  };
  return {
    within(ms) {
      timer = clock.after(ms, run);
    },
    hurry() {
      if (!timer || hurried) return;
      hurried = true;
      timer.cancel();
      timer = clock.after(0, run);
    },
    cancel() {
      timer?.cancel();
      timer = undefined;
    },
  };
}
