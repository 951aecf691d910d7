import { quickHere, type Runs, warmUp } from '@skein/agent/inference/warm-up.ts';
import { describe, expect, it } from 'vitest';

const LIMIT_MS = 0.5;

/** A model on a clock of its own: its n-th run, from 0, takes `ms(n)`. */
function model(ms: (run: number) => number) {
  let now = 0;
  let runs = 0;
  let turns = 0;
  const session: Runs = {
    inputs: [{ name: 'x', type: 'float32', shape: [1, 3] }],
    async run() {
      now += ms(runs++);
      return {};
    },
  };
  const turn = async () => void turns++;
  return {
    quick: () => quickHere(session, () => now, LIMIT_MS, turn),
    warmUp: (budgetMs?: number) => warmUp(session, () => now, budgetMs),
    took: () => ({ now, runs, turns }),
  };
}

const refuses = model(() => {
  throw new Error('zeros are not a sentence');
});

describe('the warm-up of a model', () => {
  it('does not count its cold runs', async () => {
    expect(await model((run) => (run < 5 ? 8 : 0.25)).warmUp()).toEqual({ p50Ms: 0.25, p99Ms: 0.25 });
  });

  it('says the slowest run but one of a hundred', async () => {
    const slow = (run: number) => (run % 50 === 7 ? 2 : 0.25);
    expect(await model(slow).warmUp()).toEqual({ p50Ms: 0.25, p99Ms: 2 });
  });

  it('keeps to its budget, and says nothing of a model of which no run fits into it', async () => {
    const heavy = model(() => 100);
    expect(await heavy.warmUp(5)).toBeUndefined();
    expect(heavy.took().runs).toBeLessThanOrEqual(2);
  });

  it('says nothing of a model that refuses zeros', async () => {
    expect(await refuses.warmUp()).toBeUndefined();
  });
});

describe('whether a model may run on the caller’s thread', () => {
  it('is seen in one try where the machine is quiet', async () => {
    const quiet = model(() => 0.03125);
    expect(await quiet.quick()).toBe(0.03125);
    expect(quiet.took().turns).toBe(0);
  });

  it('is tried again where a busy machine held up some runs of a quick one, with a turn for others between', async () => {
    const held = model((run) => (run === 30 || run === 60 || run === 90 ? 1 : 0.03125));
    expect(await held.quick()).toBe(0.03125);
    expect(held.took().turns).toBe(1);
  });

  it('is denied to one of whose runs some are always slow', async () => {
    const spiky = model((run) => (run % 20 === 0 ? 1 : 0.03125));
    expect(await spiky.quick()).toBeUndefined();
    expect(spiky.took().turns).toBe(2);
  });

  it('is denied at once to one that is not far below the limit, and holds nobody up for long', async () => {
    const near = model((run) => (run === 12 ? 1 : 0.25));
    expect(await near.quick()).toBeUndefined();
    expect(near.took()).toMatchObject({ turns: 0 });
    expect(near.took().now).toBeLessThan(10);
  });

  it('is denied to one that refuses zeros', async () => {
    expect(await refuses.quick()).toBeUndefined();
  });
});
