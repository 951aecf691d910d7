/** A clock that moves only when a test says so; tasks run in due order, then by age. */
import type { Clock, Timer } from '@skein/protocol/ports.ts';

export interface ManualClock extends Clock {
  /** Runs everything due within `ms`, letting promises settle between tasks. */
  advance(ms: number): Promise<void>;
  pendingTimers(): number;
}

const settle = async () => {
  for (let i = 0; i < 20; i += 1) await Promise.resolve();
};

export function manualClock(startAt = 1_763_000_000_000): ManualClock {
  let mono = 0;
  let tasks: { due: number; task: () => void }[] = [];
  return {
    now: () => startAt + mono,
    mono: () => mono,
    after(delayMs, task): Timer {
      const entry = { due: mono + Math.max(0, delayMs), task };
      tasks.push(entry);
      return { cancel: () => (tasks = tasks.filter((other) => other !== entry)) };
    },
    async advance(ms) {
      const end = mono + ms;
      await settle();
      for (;;) {
        const next = tasks.filter((t) => t.due <= end).sort((a, b) => a.due - b.due)[0];
        if (!next) break;
        tasks = tasks.filter((other) => other !== next);
        mono = Math.max(mono, next.due);
        next.task();
        await settle();
      }
      mono = end;
    },
    pendingTimers: () => tasks.length,
  };
}
