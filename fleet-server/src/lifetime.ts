/**
 * What was started is stopped in reverse, each step with its turn even when one fails or hangs; all of it is over
 * within {@link STOP_MS}.
 */
import type { Clock, Log, Timer } from '@skein/protocol/ports.ts';
import { type Millis, SECOND } from '@skein/protocol/units.ts';

export const STOP_MS: Millis = 5 * SECOND;

export interface Lifetime {
  /** Remembers how to stop what has just been started. */
  onStop(step: () => unknown): void;
  /** Runs `task` at once and then every `intervalMs`; a failure is logged, not the end. */
  every(intervalMs: Millis, what: string, task: () => Promise<void>): void;
  stop(): Promise<void>;
}

export function createLifetime(clock: Clock, log: Log): Lifetime {
  const steps: (() => unknown)[] = [];

  async function stopAll(): Promise<void> {
    for (const step of steps.splice(0).reverse()) {
      try {
        await step();
      } catch (error) {
        log.warn('while stopping', { error: (error as Error).message });
      }
    }
  }

  return {
    onStop: (step) => void steps.push(step),
    every(intervalMs, what, task) {
      let timer: Timer | undefined;
      let running: Promise<void> | undefined;
      let stopped = false;
      const run = () => {
        running = task()
          .catch((error: Error) => log.error(what, { error: error.message }))
          .finally(() => {
            if (!stopped) timer = clock.after(intervalMs, run);
          });
      };
      run();
      steps.push(async () => {
        stopped = true;
        timer?.cancel();
        await running;
      });
    },
    async stop() {
      let timer: Timer | undefined;
      const late = new Promise<void>((resolve) => {
        timer = clock.after(STOP_MS, () => {
          log.warn('stopping took too long; what is left is cut off');
          resolve();
        });
      });
      await Promise.race([stopAll(), late]);
      timer?.cancel();
    },
  };
}
