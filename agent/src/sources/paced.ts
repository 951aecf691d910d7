/**
 * Readings that came together, handed on one after the other as the model has room. What waits is bounded by who offers:
 * it looks at {@link Paced.waiting} and pauses or refuses what it gets more from.
 */
import type { Reading, SourceHandlers } from './port.ts';

export interface Paced {
  readonly waiting: number;
  offer(readings: readonly Reading[]): void;
  /** Nothing is handed on after this. */
  stop(): void;
}

/** @param drained called each time that nothing waits any more. */
export function paced(handlers: SourceHandlers, drained: () => void = () => {}): Paced {
  let queue: Reading[] = [];
  let next = 0;
  let pumping = false;
  let stopped = false;

  const pump = async (): Promise<void> => {
    pumping = true;
    while (!stopped && next < queue.length) {
      const room = handlers.room?.();
      if (room) await room;
      else handlers.reading(queue[next++]!);
    }
    queue = [];
    next = 0;
    pumping = false;
    if (!stopped) drained();
  };

  return {
    get waiting() {
      return queue.length - next;
    },
    offer(readings) {
      if (stopped) return;
      queue.push(...readings);
      if (!pumping) void pump();
    },
    stop() {
      stopped = true;
      queue = [];
      next = 0;
    },
  };
}
