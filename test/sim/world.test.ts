import { describe, expect, it } from 'vitest';
import { PromiseBroken } from './checker.ts';
import { FLAWS, PREFLIGHT_FLAWS } from './repository.ts';
import { Chance } from './seeded.ts';
import { VirtualTime } from './virtual-time.ts';
import { runWorld } from './world.ts';

const SEED = Number(process.env.SKEIN_SIM_SEED ?? 20260101);
const DEVICES = process.env.SKEIN_LONG === '1' ? 1_000 : 200;

describe('a simulated fleet keeps the promises', () => {
  it(`with ${DEVICES} devices, through loss, delay, repetition, partitions and crashes`, async () => {
    const result = await runWorld({ seed: SEED, devices: DEVICES, flaw: 'errors' });
    expect(result.crashes).toBeGreaterThan(DEVICES / 20);
    expect(result.serverCrashes).toBeGreaterThan(0);
    expect(result.messagesLost).toBeGreaterThan(DEVICES);
    expect(result.messagesRepeated).toBeGreaterThan(DEVICES);
    expect(result.checks).toBeGreaterThan(20 * DEVICES);
    // Two percent of the fleet are the first stage.
    expect(result.harmed).toBeGreaterThan(0);
    expect(result.harmed).toBeLessThanOrEqual(DEVICES / 50);
  });

  it.each(FLAWS)('whatever is wrong with the bad version: %s', async (flaw) => {
    const result = await runWorld({ seed: SEED + FLAWS.indexOf(flaw), devices: 40, flaw });
    if (PREFLIGHT_FLAWS.includes(flaw)) expect(result.harmed).toBe(0);
    else expect(result.harmed).toBeGreaterThan(0);
  });
});

describe('a world', () => {
  it('is the same again with the same seed', async () => {
    const [a, b] = [await runWorld({ seed: 7, devices: 30 }), await runWorld({ seed: 7, devices: 30 })];
    expect(b).toEqual(a);
  });

  it('names its seed and the command that replays it when a promise is broken', async () => {
    // Nobody can converge in a world with no devices to roll out to.
    const broken = await runWorld({ seed: 3, devices: 0 }).catch((thrown: unknown) => thrown);
    expect(broken).toBeInstanceOf(PromiseBroken);
    expect((broken as Error).message).toMatch(/seed 3.*npm run simulate -- --seed 3 --devices 0/s);
  });
});

describe('virtual time', () => {
  it('runs tasks by time, those of one instant in the order in which they were asked for', async () => {
    const time = new VirtualTime();
    const seen: string[] = [];
    time.after(5, () => seen.push('late'));
    time.after(1, () => seen.push('a'));
    time.after(1, () => seen.push('b'));
    time.after(2, () => seen.push('never')).cancel();
    while (await time.step(100)) {}
    expect(seen).toEqual(['a', 'b', 'late']);
    expect(time.now).toBe(5);
  });

  it('forgets the timers of a process that died', async () => {
    const time = new VirtualTime();
    let alive = true;
    const seen: string[] = [];
    time.clock(() => alive).after(10, () => seen.push('dead'));
    time.after(5, () => {
      alive = false;
    });
    while (await time.step(100)) {}
    expect(seen).toEqual([]);
  });
});

describe('seeded chance', () => {
  it('repeats itself for a seed and spreads over the range', () => {
    const [a, b] = [new Chance(9), new Chance(9)];
    const draws = Array.from({ length: 4_000 }, () => a.unit());
    expect(Array.from({ length: 4_000 }, () => b.unit())).toEqual(draws);
    expect(draws.reduce((x, y) => x + y, 0) / draws.length).toBeCloseTo(0.5, 1);
    expect(Math.min(...draws)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...draws)).toBeLessThan(1);
  });
});
