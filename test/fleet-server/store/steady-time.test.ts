import { keepSteadyTime, openSteadyTime } from '@skein/fleet-server/store/sqlite-steady-time.ts';
import { openSqliteStore } from '@skein/fleet-server/store/sqlite-store.ts';
import { BACK_MS, FORWARD_MS, SteadyTime } from '@skein/fleet-server/store/steady-time.ts';
import { DAY, HOUR, MINUTE, type Millis, SECOND } from '@skein/protocol/units.ts';
import { expect, it } from 'vitest';

const NOW = Date.UTC(2026, 10, 26);

function setup(known?: Millis, at: Millis = NOW) {
  const clock = { wall: at, passed: 0, now: () => clock.wall + clock.passed, mono: () => clock.passed };
  const time = new SteadyTime(clock, known);
  /** Looked at every minute, as retention does. */
  const pass = (ms: Millis) => {
    for (let left = ms; left > 0; left -= MINUTE) {
      clock.passed += Math.min(MINUTE, left);
      time.now();
    }
  };
  const step = (ms: Millis) => {
    clock.wall += ms;
  };
  return { time, pass, step };
}

it('follows a clock that is set right little by little', () => {
  const { time, pass, step } = setup();
  for (let i = 0; i < 10; i++) {
    step(30 * SECOND);
    pass(MINUTE);
  }
  expect(time.now()).toBe(NOW + 10 * (MINUTE + 30 * SECOND));
});

// biome-ignore format: the table is read by its columns
it.each([
  ['1970',        -NOW],
  ['a month ago', -40 * DAY],
  ['five days on', 5 * DAY],
  ['2099',         73 * 365 * DAY],
])('a clock at %s for a moment makes nothing old, and nothing that came then', (_, by) => {
  const { time, pass, step } = setup();
  step(by);
  pass(5 * SECOND);
  expect(time.arrival()).toBeGreaterThanOrEqual(NOW);
  expect(time.ofAges()).toBeLessThanOrEqual(NOW + 5 * SECOND);
  step(-by);
  pass(5 * SECOND);
  expect([time.now(), time.arrival(), time.ofAges()]).toEqual(Array(3).fill(NOW + 10 * SECOND));
});

it('believes a step that lasts: forward after an hour, back after a day', () => {
  const { time, pass, step } = setup();
  step(5 * DAY);
  pass(FORWARD_MS - 5 * MINUTE);
  expect(time.ofAges()).toBeLessThan(NOW + HOUR);
  pass(10 * MINUTE);
  expect(time.ofAges()).toBeGreaterThan(NOW + 5 * DAY);
  step(-5 * DAY);
  pass(BACK_MS - 5 * MINUTE);
  expect(time.arrival()).toBeGreaterThan(NOW + 5 * DAY);
  pass(10 * MINUTE);
  expect(time.arrival()).toBeLessThan(NOW + 2 * DAY);
});

it('goes on from what it knew when a start finds the clock in 1970, or weeks later', () => {
  expect(setup(NOW, 0).time.arrival()).toBe(NOW);
  const rested = setup(NOW - 21 * DAY);
  expect(rested.time.arrival()).toBe(NOW);
  expect(rested.time.ofAges()).toBe(NOW - 21 * DAY);
});

it('is kept in the store', async () => {
  const store = await openSqliteStore(':memory:');
  const at = (now: Millis) => ({ now: () => now, mono: () => 0, after: () => ({ cancel() {} }) });
  await keepSteadyTime(store, await openSteadyTime(store, at(NOW)));
  await keepSteadyTime(store, await openSteadyTime(store, at(NOW + SECOND)));
  expect((await openSteadyTime(store, at(0))).arrival()).toBe(NOW + SECOND);
  await store.destroy();
});
