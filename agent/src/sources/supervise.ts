/**
 * Watches one source: when no reading came for its limit it is stalled: that is reported, the source alone is stopped
 * and started again, and again after the same limit, doubled each time up to ten minutes. The first reading that comes
 * clears it. A replay that has ended is not stalled.
 */
import type { Clock, Timer } from '@skein/protocol/ports.ts';
import type { Millis } from '@skein/protocol/units.ts';
import type { Reading, Source } from './port.ts';

const LONGEST_WAIT_MS: Millis = 600_000;

export interface SupervisorEvents {
  reading(reading: Reading): void;
  failed(source: string, error: Error): void;
  stalled(source: string, silentMs: Millis): void;
  recovered(source: string): void;
  ended(source: string): void;
  /** As {@link SourceHandlers.room}. */
  room?(): Promise<void> | undefined;
}

export interface SupervisedSource {
  readonly name: string;
  readonly status: 'starting' | 'delivering' | 'stalled' | 'ended' | 'stopped';
  readonly readings: number;
  readonly lastReadingMono: Millis | null;
  start(): void;
  stop(): Promise<void>;
}

export function supervise(source: Source, clock: Clock, events: SupervisorEvents): SupervisedSource {
  let status: SupervisedSource['status'] = 'stopped';
  let readings = 0;
  let lastMono: Millis | null = null;
  let watchedSince = 0;
  let waitMs = source.stallAfterMs;
  let timer: Timer | undefined;

  const watch = (): void => {
    timer = clock.after(watchedSince + waitMs - clock.mono(), check);
  };
  const check = (): void => {
    const silentMs = clock.mono() - watchedSince;
    if (silentMs < waitMs) watch();
    else stall(silentMs);
  };
  const stall = (silentMs: Millis): void => {
    if (status !== 'stalled') events.stalled(source.name, silentMs);
    status = 'stalled';
    waitMs = Math.min(LONGEST_WAIT_MS, waitMs * 2);
    void restart();
  };
  const restart = async (): Promise<void> => {
    await source.stop();
    if (status !== 'stalled') return;
    watchedSince = clock.mono();
    source.start(handlers);
    watch();
  };
  const handlers = {
    reading(reading: Reading): void {
      if (status === 'stopped') return;
      if (status === 'stalled') events.recovered(source.name);
      status = 'delivering';
      readings += 1;
      lastMono = watchedSince = clock.mono();
      waitMs = source.stallAfterMs;
      events.reading(reading);
    },
    failed: (error: Error): void => events.failed(source.name, error),
    quiet(ms: Millis): void {
      watchedSince = Math.max(watchedSince, clock.mono() + ms);
    },
    ...(events.room ? { room: events.room } : {}),
    ended(): void {
      if (status === 'stalled') events.recovered(source.name);
      status = 'ended';
      timer?.cancel();
      events.ended(source.name);
    },
  };

  return {
    name: source.name,
    get status() {
      return status;
    },
    get readings() {
      return readings;
    },
    get lastReadingMono() {
      return lastMono;
    },
    start() {
      status = 'starting';
      watchedSince = clock.mono();
      source.start(handlers);
      if ((status as SupervisedSource['status']) !== 'ended') watch();
    },
    async stop() {
      status = 'stopped';
      timer?.cancel();
      await source.stop();
    },
  };
}
