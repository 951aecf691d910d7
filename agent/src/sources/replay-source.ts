/**
 * A recording played again, line by line, at its period or faster. Pure: the lines come in by parameter, the beat by
 * the Clock. At most one line is read ahead, so a recording of any length costs the same memory.
 */
import type { Clock, Timer } from '@skein/protocol/ports.ts';
import type { Millis } from '@skein/protocol/units.ts';
import type { Source, SourceHandlers } from './port.ts';

export type Values = Record<string, number>;

/** One line of a recording, or undefined for a line that carries none (a header, a blank). @throws SkeinError SOURCE_INVALID */
export type LineParser = (line: string, number: number) => { values: Values; truth?: string } | undefined;

export interface ReplayOptions {
  name: string;
  stallAfterMs: Millis;
  /** Between two lines. 0: as fast as they are taken, yielding after each. */
  periodMs: Millis;
  /** Start again at the end instead of ending. */
  loop: boolean;
}

/** @param open starts reading from the first line; `parser` is made anew with it (it may remember a header). */
export function replaySource(
  options: ReplayOptions,
  clock: Clock,
  open: () => AsyncIterable<string>,
  parser: () => LineParser,
): Source {
  let running: { stopped: boolean; wake?: () => void; timer?: Timer } | undefined;
  let playing: Promise<void> = Promise.resolve();

  const pause = (run: NonNullable<typeof running>, until: Millis) =>
    new Promise<void>((resolve) => {
      run.wake = resolve;
      run.timer = clock.after(Math.max(0, until - clock.mono()), resolve);
    });

  async function playOnce(run: NonNullable<typeof running>, handlers: SourceHandlers): Promise<void> {
    const parse = parser();
    let number = 0;
    let due = clock.mono();
    for await (const line of open()) {
      const row = parse(line, ++number);
      if (!row) continue;
      await pause(run, due);
      if (run.stopped) return;
      due = Math.max(due + options.periodMs, clock.mono() - options.periodMs);
      handlers.reading({ ts: clock.now(), mono: clock.mono(), source: options.name, ...row });
    }
  }

  async function play(run: NonNullable<typeof running>, handlers: SourceHandlers): Promise<void> {
    try {
      do await playOnce(run, handlers);
      while (options.loop && !run.stopped);
      if (!run.stopped) handlers.ended();
    } catch (error) {
      if (!run.stopped) handlers.failed(error instanceof Error ? error : new Error(String(error)));
    }
  }

  return {
    name: options.name,
    stallAfterMs: options.stallAfterMs,
    start(handlers) {
      running = { stopped: false };
      playing = play(running, handlers);
    },
    async stop() {
      if (!running) return;
      running.stopped = true;
      running.timer?.cancel();
      running.wake?.();
      await playing;
    },
  };
}
