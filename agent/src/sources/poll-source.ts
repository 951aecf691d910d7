/**
 * Asks for a reading every period. One question at a time: an answer that is late shifts nothing but its own beat. After
 * a failure the next question comes after its period or, if that is longer, a backoff by chance of up to 30 s.
 */
import type { Clock, Entropy, Timer } from '@skein/protocol/ports.ts';
import { type Millis, SECOND } from '@skein/protocol/units.ts';
import { type BackoffPolicy, backoffMs } from '../uplink/backoff.ts';
import type { Reading, Source, SourceHandlers } from './port.ts';

export type Found = Omit<Reading, 'ts' | 'mono' | 'source'>;

/** One answer. @throws SkeinError SOURCE_FAILED, SOURCE_INVALID */
export type Ask = (stopped: AbortSignal) => Promise<readonly Found[]>;

export interface PollOptions {
  name: string;
  periodMs: Millis;
  stallAfterMs: Millis;
}

const RETRY: BackoffPolicy = { baseMs: SECOND, capMs: 30 * SECOND };

interface Run {
  stopping: AbortController;
  timer?: Timer;
}

export function pollSource(
  { name, periodMs, stallAfterMs }: PollOptions,
  { clock, entropy }: { clock: Clock; entropy: Entropy },
  ask: Ask,
): Source {
  let current: Run | undefined;

  const askOnce = async (run: Run, handlers: SourceHandlers): Promise<boolean> => {
    try {
      const found = await ask(run.stopping.signal);
      for (const each of found) {
        await handlers.room?.();
        if (run.stopping.signal.aborted) return true;
        handlers.reading({ ts: clock.now(), mono: clock.mono(), source: name, ...each });
      }
      return true;
    } catch (error) {
      if (!run.stopping.signal.aborted) handlers.failed(error as Error);
      return false;
    }
  };
  const turn = (run: Run, handlers: SourceHandlers, failures: number): void => {
    const begun = clock.mono();
    void askOnce(run, handlers).then((well) => {
      if (run.stopping.signal.aborted) return;
      const spent = clock.mono() - begun;
      const beat = Math.max(0, periodMs - spent);
      const wait = well ? beat : Math.max(beat, backoffMs(failures, entropy, RETRY));
      run.timer = clock.after(wait, () => turn(run, handlers, well ? 0 : failures + 1));
    });
  };

  return {
    name,
    stallAfterMs,
    start(handlers) {
      current = { stopping: new AbortController() };
      turn(current, handlers, 0);
    },
    async stop() {
      current?.timer?.cancel();
      current?.stopping.abort();
    },
  };
}
