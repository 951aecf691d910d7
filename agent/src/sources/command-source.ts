/**
 * A supervised command whose standard output is readings. It is started again when it ends, after a delay that doubles
 * from 1 s to 60 s (the upper half of it by chance, so that a fleet does not knock in step) and starts over once a reading
 * came. What is no reading is reported and skipped; it never ends the source.
 *
 * Lines wait for the model: the command's output is not read on while they do, so it feels the back pressure in its own
 * write. Frames do not wait: of them the latest wins (admission.ts), and at most one that is not whole is held here.
 */
import type { Clock, Entropy, Timer } from '@skein/protocol/ports.ts';
import type { Millis } from '@skein/protocol/units.ts';
import { restartDelayMs } from '../uplink/backoff.ts';
import type { Mapping, Row } from './json-rows.ts';
import { lineSplitter } from './lines.ts';
import { type Paced, paced } from './paced.ts';
import type { Reading, Source, SourceHandlers } from './port.ts';
import { jsonLines, MAX_LINE_CHARACTERS } from './recordings.ts';

export interface CommandHandlers {
  data(chunk: Uint8Array): void;
  /** Once; nothing follows. `why` is for people: exit code, signal or the reason it did not start. */
  exited(why: string): void;
}

export interface RunningCommand {
  /** Reads no more of its output until `resume`. */
  pause(): void;
  resume(): void;
  /** Resolves when the process and its children are gone. */
  stop(): Promise<void>;
}

/** Starts the command. @throws never: a command that cannot start says so by `exited`. */
export type LaunchCommand = (handlers: CommandHandlers) => RunningCommand;

/** Takes one run's output. */
export interface OutputReader {
  push(chunk: Uint8Array): void;
  end(): void;
}

/** What a reader hands its finds to. */
export interface ReaderHandlers {
  found(reading: Omit<Reading, 'ts' | 'mono' | 'source'>): void;
  failed(error: Error): void;
  /** Nothing more can be made of this run's output: the command is ended and started again. */
  broken(error: Error): void;
}

export interface CommandSourceOptions {
  name: string;
  stallAfterMs: Millis;
  /** Readings wait for the model, and the command with them; else they go on at once and the latest wins. */
  waits: boolean;
}

/** From one start to its stop. */
interface Run {
  stopped: boolean;
  queue: Paced;
  timer?: Timer;
  command?: RunningCommand;
}

export function commandSource(
  options: CommandSourceOptions,
  { clock, entropy }: { clock: Clock; entropy: Entropy },
  launch: LaunchCommand,
  readerFor: (handlers: ReaderHandlers) => OutputReader,
): Source {
  let current: Run | undefined;

  const run = (state: Run, handlers: SourceHandlers, attempt: number): void => {
    let delivered = false;
    let broken = false;
    const reader = readerFor({
      found(found) {
        if (state.stopped) return;
        delivered = true;
        const reading = { ts: clock.now(), mono: clock.mono(), source: options.name, ...found };
        if (options.waits) state.queue.offer([reading]);
        else handlers.reading(reading);
      },
      failed: (error) => !state.stopped && handlers.failed(error),
      broken(error) {
        if (state.stopped || broken) return;
        broken = true;
        handlers.failed(error);
        void state.command?.stop();
      },
    });
    state.command = launch({
      data(chunk) {
        if (state.stopped || broken) return;
        reader.push(chunk);
        if (state.queue.waiting > 0) state.command?.pause();
      },
      exited(why) {
        if (state.stopped) return;
        reader.end();
        const wait = restartDelayMs(delivered ? 0 : attempt, entropy);
        handlers.failed(new Error(`${why}; it is started again in ${(wait / 1000).toFixed(1)} s`));
        state.timer = clock.after(wait, () => run(state, handlers, delivered ? 1 : attempt + 1));
      },
    });
  };

  return {
    name: options.name,
    stallAfterMs: options.stallAfterMs,
    start(handlers) {
      const state: Run = { stopped: false, queue: paced(handlers, () => state.command?.resume()) };
      current = state;
      run(state, handlers, 0);
    },
    async stop() {
      const state = current;
      if (!state) return;
      state.stopped = true;
      state.timer?.cancel();
      state.queue.stop();
      await state.command?.stop();
    },
  };
}

/** One JSON object per line. */
export const lineReader =
  (mapping: Mapping | undefined) =>
  (handlers: ReaderHandlers): OutputReader => {
    const splitter = lineSplitter(MAX_LINE_CHARACTERS, handlers.failed);
    const parse = jsonLines(undefined, mapping);
    let number = 0;
    const take = (lines: readonly string[]): void => {
      for (const line of lines) {
        const row = parsed(line);
        if (row) handlers.found(row);
      }
    };
    const parsed = (line: string): Row | undefined => {
      try {
        return parse(line, ++number);
      } catch (error) {
        handlers.failed(error as Error);
        return undefined;
      }
    };
    return { push: (chunk) => take(splitter.push(chunk)), end: () => take(splitter.end()) };
  };
