/** The steady time of a server across its restarts. */
import type { Clock } from '@skein/protocol/ports.ts';
import type { Store } from './sqlite-store.ts';
import { SteadyTime } from './steady-time.ts';

const KEY = 'time.steady';

export async function openSteadyTime(store: Store, clock: Clock): Promise<SteadyTime> {
  const row = await store.selectFrom('meta').select('value').where('key', '=', KEY).executeTakeFirst();
  return new SteadyTime(clock, row === undefined ? undefined : Number(row.value));
}

export async function keepSteadyTime(store: Store, time: SteadyTime): Promise<void> {
  const value = String(Math.round(time.now()));
  await store
    .insertInto('meta')
    .values({ key: KEY, value })
    .onConflict((conflict) => conflict.column('key').doUpdateSet({ value }))
    .execute();
}
