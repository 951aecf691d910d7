/**
 * A supervised command that prints one flat JSON object per line. It is started again when it ends, after a delay that
 * doubles from 1 s to 60 s and falls back to 1 s once a reading came. A line that is not a reading is reported and
 * skipped; it never ends the source.
 */
import type { Clock, Timer } from '@skein/protocol/ports.ts';
import type { Millis } from '@skein/protocol/units.ts';
import type { Source, SourceHandlers } from './port.ts';
import { jsonLines } from './recordings.ts';

export interface CommandHandlers {
  line(text: string): void;
  failed(error: Error): void;
  /** Once; nothing follows. `why` is for people: exit code, signal or the reason it did not start. */
  exited(why: string): void;
}

export interface RunningCommand {
  /** Resolves when the process and its children are gone. */
  stop(): Promise<void>;
}

/** Starts the command. @throws never: a command that cannot start says so by `exited`. */
export type LaunchCommand = (handlers: CommandHandlers) => RunningCommand;

const FIRST_DELAY_MS: Millis = 1_000;
const LAST_DELAY_MS: Millis = 60_000;

export interface CommandSourceOptions {
  name: string;
  stallAfterMs: Millis;
}

export function commandSource(options: CommandSourceOptions, clock: Clock, launch: LaunchCommand): Source {
  let running: RunningCommand | undefined;
  let timer: Timer | undefined;
  let stopped = true;
  let delayMs = FIRST_DELAY_MS;

  const run = (handlers: SourceHandlers): void => {
    const parse = jsonLines();
    let number = 0;
    running = launch({
      line(text) {
        if (stopped) return;
        try {
          const row = parse(text, ++number);
          if (!row) return;
          delayMs = FIRST_DELAY_MS;
          handlers.reading({ ts: clock.now(), mono: clock.mono(), source: options.name, ...row });
        } catch (error) {
          handlers.failed(error as Error);
        }
      },
      failed: (error) => handlers.failed(error),
      exited(why) {
        running = undefined;
        if (stopped) return;
        handlers.failed(new Error(`${why}; it is started again in ${delayMs / 1000} s`));
        timer = clock.after(delayMs, () => run(handlers));
        delayMs = Math.min(LAST_DELAY_MS, delayMs * 2);
      },
    });
  };

  return {
    name: options.name,
    stallAfterMs: options.stallAfterMs,
    start(handlers) {
      stopped = false;
      run(handlers);
    },
    async stop() {
      stopped = true;
      timer?.cancel();
      await running?.stop();
    },
  };
}
