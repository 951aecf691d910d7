/**
 * A recording played again, line by line: at its period, as fast as the model takes them (period 0), or with the pauses
 * it was recorded with, scaled. Pure: the lines come in by parameter, the beat by the Clock. At most one line is read
 * ahead, so a recording of any length costs the same memory. Waiting for the next line's time is not silence.
 */
import type { Clock, Timer } from '@skein/protocol/ports.ts';
import type { Millis } from '@skein/protocol/units.ts';
import type { Row } from './json-rows.ts';
import type { Source, SourceHandlers } from './port.ts';

export interface RecordedRow extends Row {
  /** Time of the recording, where it has a column for it. */
  at?: Millis;
}

/** One line of a recording, or undefined for a line that carries none (a header, a blank). @throws SkeinError SOURCE_INVALID */
export type LineParser = (line: string, number: number) => RecordedRow | undefined;

export interface ReplayOptions {
  name: string;
  stallAfterMs: Millis;
  /** Between two lines. 0: as fast as they are taken, yielding after each. */
  periodMs: Millis;
  /** Of the recorded time, where rows carry it; the period counts for nothing then. Default 1. */
  speed?: number;
  /** Start again at the end instead of ending. */
  loop: boolean;
}

interface Run {
  stopped: boolean;
  /** Settles every wait of this run. */
  wake(): void;
  woken: Promise<void>;
}

/** Longest wait before the supervisor is told that nothing comes. */
const UNTOLD_MS: Millis = 1_000;
/** Lines that are due at once, between two turns of the event loop. */
const YIELD_EVERY = 32;

/** @param open starts reading from the first line; `parser` is made anew with it (it may remember a header). */
export function replaySource(
  options: ReplayOptions,
  clock: Clock,
  open: () => AsyncIterable<string>,
  parser: () => LineParser,
): Source {
  let running: Run | undefined;
  let playing: Promise<void> = Promise.resolve();

  /** Until a monotonic time, or until stopped. */
  const pause = async (run: Run, until: Millis): Promise<void> => {
    let timer: Timer | undefined;
    const due = new Promise<void>((resolve) => {
      timer = clock.after(Math.max(0, until - clock.mono()), resolve);
    });
    await Promise.race([due, run.woken]);
    timer?.cancel();
  };

  /** @returns whether there was a reading. */
  async function playOnce(run: Run, handlers: SourceHandlers): Promise<boolean> {
    const parse = parser();
    const beat = beatOf(options, clock);
    let number = 0;
    let played = 0;
    for await (const line of untilStopped(open(), run)) {
      const row = parse(line, ++number);
      if (!row) continue;
      const { at, ...reading } = row;
      const due = beat(at);
      if (due - clock.mono() > UNTOLD_MS) handlers.quiet?.(due - clock.mono());
      if (due > clock.mono() || played % YIELD_EVERY === 0) await pause(run, due);
      const room = handlers.room?.();
      if (room) await Promise.race([room, run.woken]);
      if (run.stopped) break;
      played++;
      handlers.reading({ ts: clock.now(), mono: clock.mono(), source: options.name, ...reading });
    }
    return played > 0;
  }

  async function play(run: Run, handlers: SourceHandlers): Promise<void> {
    try {
      let again = true;
      while (again && !run.stopped) again = (await playOnce(run, handlers)) && options.loop;
      if (!run.stopped) handlers.ended();
    } catch (error) {
      if (!run.stopped) handlers.failed(error instanceof Error ? error : new Error(String(error)));
    }
  }

  return {
    name: options.name,
    stallAfterMs: options.stallAfterMs,
    start(handlers) {
      running = newRun();
      playing = play(running, handlers);
    },
    async stop() {
      if (!running) return;
      running.stopped = true;
      running.wake();
      await playing;
    },
  };
}

function newRun(): Run {
  let wake = (): void => {};
  const woken = new Promise<void>((resolve) => {
    wake = resolve;
  });
  return { stopped: false, wake, woken };
}

/** Lines until the run is stopped, also while one is waited for (standard input may never give another). */
async function* untilStopped(lines: AsyncIterable<string>, run: Run): AsyncIterable<string> {
  const iterator = lines[Symbol.asyncIterator]();
  const stopped = run.woken.then(() => ({ done: true, value: undefined }) as const);
  try {
    for (;;) {
      const next = await Promise.race([iterator.next(), stopped]);
      if (next.done) return;
      yield next.value;
    }
  } finally {
    // Not awaited: a generator that waits for a line only returns after it.
    void iterator.return?.()?.catch(() => undefined);
  }
}

/** Monotonic time at which the row comes that was recorded `at`. A clock that was set back then makes no pause. */
function beatOf({ periodMs, speed = 1 }: ReplayOptions, clock: Clock): (at: Millis | undefined) => Millis {
  let due = clock.mono();
  let before: Millis | undefined;
  return (at) => {
    const now = due;
    if (at !== undefined) {
      due += before === undefined ? 0 : Math.max(0, at - before) / speed;
      before = at;
      return due;
    }
    due = Math.max(due + periodMs, clock.mono() - periodMs);
    return now;
  };
}
