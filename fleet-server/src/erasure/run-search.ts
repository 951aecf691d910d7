/**
 * After the rows are gone: the files are searched for the device's id, and cleaned until it is nowhere. Each means costs
 * more than the one before; nearly always the second is enough.
 */
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Clock } from '@skein/protocol/ports.ts';
import type { Millis } from '@skein/protocol/units.ts';
import { FATES } from './fates.ts';
import type { ErasureDeps } from './port.ts';
import type { Found } from './sqlite-erasures.ts';
import { cutLog, hasTraces, reindex, writeAnew } from './sqlite-scrub.ts';

type Deps = Pick<ErasureDeps, 'store' | 'clock' | 'log' | 'search' | 'freeBytes'>;

/** @throws SkeinError DISK_FAILED when it is still there after all, DISK_FULL, CONFLICT */
export async function cleanFiles(
  deps: Deps,
  { pseudonym, device }: { pseudonym: string; device: string },
  signal: AbortSignal,
): Promise<Found> {
  const { store, log, search } = deps;
  await cutLog(store);
  const anew = () => allAnew(deps);
  const means = (await hasTraces(store)) ? [anew] : [async () => {}, () => indicesAnew(deps), anew];
  let places: string[] = [];
  for (const [n, clean] of means.entries()) {
    if (n > 0) log.info('erasing a device: copies are left in the file', { pseudonym, places });
    await clean();
    const { places: left, ...found } = await search(device, signal);
    if (found.found === 0) return found;
    places = left;
  }
  throw new SkeinError('DISK_FAILED', `the device’s id is still in ${places.join(', ')}`, {
    fix: 'Look what else writes there; the search is tried again.',
  });
}

async function indicesAnew({ store, clock }: Deps): Promise<void> {
  for (const table of Object.keys(FATES) as (keyof typeof FATES)[]) {
    if (FATES[table].fate === 'kept') continue;
    const began = clock.mono();
    await reindex(store, table);
    await rest(clock, clock.mono() - began);
  }
  await cutLog(store);
}

async function allAnew({ store, freeBytes, log }: Deps): Promise<void> {
  log.warn('erasing a device: the database is written anew, and nobody is served meanwhile');
  await writeAnew(store, await freeBytes());
}

const LEAST_REST_MS: Millis = 1;

/** Others are served at least as long as an erasure worked. */
export const rest = (clock: Clock, workedMs: Millis): Promise<void> =>
  new Promise((resolve) => void clock.after(Math.max(LEAST_REST_MS, workedMs), resolve));
