/**
 * The pictures of a folder by name, one a period: once, again and again, or with those that appear later. A file that has
 * no end yet is tried again ({@link TRIES} times, for about 6 s) before it counts as bad; one that went away is nothing.
 * The next waits until the model has room, so that none is left out. Names that were shown are remembered, at most
 * {@link MAX_NAMES}.
 */
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Clock, Timer } from '@skein/protocol/ports.ts';
import type { Bytes, Millis } from '@skein/protocol/units.ts';
import { findPicture, noPicture } from './picture-bytes.ts';
import type { Picture, Source, SourceHandlers } from './port.ts';

export interface PictureFolder {
  /** Names of its pictures, in order. @throws SkeinError SOURCE_FAILED */
  list(most: number): Promise<string[]>;
  /** undefined: it is gone. @throws SkeinError SOURCE_INVALID when it is longer than `maxBytes`, SOURCE_FAILED */
  read(name: string, maxBytes: Bytes): Promise<Uint8Array | undefined>;
}

export interface DirectoryOptions {
  name: string;
  stallAfterMs: Millis;
  periodMs: Millis;
  maxBytes: Bytes;
  loop: boolean;
  /** New names are shown as they appear; the source never ends. */
  watch: boolean;
}

export const MAX_NAMES = 100_000;
const TRIES = 6;
const RETRY_MS: Millis = 100;

interface Run {
  stopped: boolean;
  wake: () => void;
  timer?: Timer;
}

export function directorySource(options: DirectoryOptions, clock: Clock, folder: PictureFolder): Source {
  const { name, periodMs, stallAfterMs, maxBytes, loop, watch } = options;
  let current: Run | undefined;

  const pause = (run: Run, ms: Millis): Promise<void> =>
    new Promise((resolve) => {
      run.wake = resolve;
      run.timer = clock.after(ms, resolve);
      if (run.stopped) resolve();
    });

  /** @throws SkeinError SOURCE_INVALID, SOURCE_FAILED */
  async function pictureOf(run: Run, file: string): Promise<Picture | undefined> {
    for (let attempt = 0; ; attempt++) {
      const bytes = await folder.read(file, maxBytes);
      if (!bytes || run.stopped) return undefined;
      const found = findPicture(bytes);
      if ('picture' in found) return found.picture;
      if (found.wrong === 'unknown' || attempt === TRIES) throw noPicture(file, found.wrong);
      await pause(run, RETRY_MS * 2 ** attempt);
    }
  }

  async function show(run: Run, handlers: SourceHandlers, file: string): Promise<boolean> {
    try {
      const picture = await pictureOf(run, file);
      await handlers.room?.();
      if (!picture || run.stopped) return false;
      handlers.reading({ ts: clock.now(), mono: clock.mono(), source: name, values: {}, picture });
      return true;
    } catch (error) {
      if (!run.stopped) handlers.failed(error as Error);
      return false;
    }
  }

  /** @returns how many were shown. */
  async function pass(run: Run, handlers: SourceHandlers, seen: Set<string>): Promise<number> {
    const names = await folder.list(MAX_NAMES);
    const fresh = names.filter((each) => !seen.has(each));
    const there = new Set(names);
    for (const each of seen) if (!there.has(each)) seen.delete(each);
    let shown = 0;
    for (const file of fresh) {
      const begun = clock.mono();
      seen.add(file);
      if (await show(run, handlers, file)) shown++;
      if (run.stopped) return shown;
      await pause(run, Math.max(0, begun + periodMs - clock.mono()));
    }
    if (fresh.length === 0) await pause(run, periodMs);
    return shown;
  }

  async function play(run: Run, handlers: SourceHandlers): Promise<void> {
    const seen = new Set<string>();
    while (!run.stopped) {
      try {
        const shown = await pass(run, handlers, seen);
        if (run.stopped || watch) continue;
        if (!loop) {
          handlers.ended();
          return;
        }
        if (shown === 0)
          throw new SkeinError('SOURCE_FAILED', 'the folder holds no picture', { fix: 'Look at `path`.' });
        seen.clear();
      } catch (error) {
        if (!run.stopped) handlers.failed(error as Error);
        await pause(run, Math.max(1_000, periodMs));
      }
    }
  }

  return {
    name,
    stallAfterMs,
    start(handlers) {
      current = { stopped: false, wake: () => {} };
      void play(current, handlers);
    },
    async stop() {
      if (!current) return;
      current.stopped = true;
      current.timer?.cancel();
      current.wake();
    },
  };
}
