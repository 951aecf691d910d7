/**
 * Stops taking batches before the disk is full, so that what is left of it stays for control traffic: orders, rollouts,
 * enrolment, the audit log. Nothing is acknowledged meanwhile, so devices keep what they have. Taken again once twice
 * the reserve is free, so that it does not flap at the limit. A disk that says that it is full counts as full at once.
 */
import type { Clock, Log, Timer } from '@skein/protocol/ports.ts';
import { type Bytes, type Millis, SECOND } from '@skein/protocol/units.ts';

export interface DiskWatchDeps {
  clock: Clock;
  log: Log;
  reserveBytes: Bytes;
  freeBytes(): Promise<Bytes>;
}

export interface DiskWatch {
  /** Since when nothing is taken. */
  readonly fullSince: Millis | null;
  /** Bytes, when last looked. */
  readonly free: Bytes;
  /** The store could not write for want of space. */
  refused(): void;
  stop(): void;
}

const LOOK_MS: Millis = 2 * SECOND;

/** Resolves when it has looked once. */
export async function watchDisk({ clock, log, reserveBytes, freeBytes }: DiskWatchDeps): Promise<DiskWatch> {
  let fullSince: Millis | null = null;
  let free = Number.POSITIVE_INFINITY;
  let timer: Timer | undefined;
  let stopped = false;

  const change = (full: boolean): void => {
    if (full === (fullSince !== null)) return;
    fullSince = full ? clock.now() : null;
    const fix = 'Free space, or keep less (keepRawDays); devices keep their records and send them again.';
    if (full)
      log.error('disk full: no batch is acknowledged', { code: 'DISK_FULL', free, reserveBytes, fix });
    else log.info('disk: batches are acknowledged again', { free });
  };
  const look = async (): Promise<void> => {
    try {
      free = await freeBytes();
      change(free < reserveBytes * (fullSince === null ? 1 : 2));
    } catch (error) {
      log.warn('disk: can not tell how much is free', { error: (error as Error).message });
    }
    if (!stopped) timer = clock.after(LOOK_MS, () => void look());
  };
  await look();
  return {
    get fullSince() {
      return fullSince;
    },
    get free() {
      return free;
    },
    refused: () => change(true),
    stop() {
      stopped = true;
      timer?.cancel();
    },
  };
}
