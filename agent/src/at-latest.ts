/** Something that is begun once: as soon as somebody hurries it, at the latest after a while, and never once cancelled. */
import type { Clock, Timer } from '@skein/protocol/ports.ts';
import type { Millis } from '@skein/protocol/units.ts';

export interface AtLatest {
  /** From now on it will begin, within `ms`. */
  within(ms: Millis): void;
  /** Begins it in a moment, after what is going on now; not before {@link within}, nor a second time. */
  hurry(): void;
  cancel(): void;
  /** Runs `task` once it has begun; at once if it has. */
  afterwards(task: () => void): void;
}

export function atLatest(clock: Clock, begin: () => void): AtLatest {
  let timer: Timer | undefined;
  let hurried = false;
  let waiting: (() => void)[] | undefined = [];

  const run = (): void => {
    timer = undefined;
    begin();
    const tasks = waiting ?? [];
    waiting = undefined;
    for (const task of tasks) task();
  };
  return {
    within(ms) {
      timer = clock.after(hurried ? 0 : ms, run);
    },
    hurry() {
      if (hurried) return;
      hurried = true;
      if (!timer) return;
      timer.cancel();
      timer = clock.after(0, run);
    },
    cancel() {
      timer?.cancel();
      timer = undefined;
    },
    afterwards(task) {
      if (waiting) waiting.push(task);
      else task();
    },
  };
}
