import { describe, expect, it } from 'vitest';
import { runDelivery } from './world.ts';

const FIRST = Number(process.env.SKEIN_SEED ?? Math.floor(Math.random() * 2 ** 30));
const WORLDS = Number(process.env.SKEIN_WORLDS ?? (process.env.SKEIN_LONG ? 5_000 : 2));

describe(`delivery through everything at once (seeds from ${FIRST})`, () => {
  it(
    `accounts for every record in ${WORLDS} worlds`,
    async () => {
      for (let seed = FIRST; seed < FIRST + WORLDS; seed++) {
        const { findings } = await runDelivery(seed);
        expect(findings, `npm run simulate -- --delivery --seed ${seed} --campaigns 1`).toEqual([]);
      }
    },
    60_000 + WORLDS * 5_000,
  );

  it('is the same for the same seed', async () => {
    const [one, other] = [await runDelivery(FIRST), await runDelivery(FIRST)];
    expect(one.accounts).toEqual(other.accounts);
    expect(one.faults).toEqual(other.faults);
  });
});
