import { atLatest } from '@skein/agent/at-latest.ts';
import { firstPrediction } from '@skein/agent/first-prediction.ts';
import { beforeEach, describe, expect, it } from 'vitest';
import { type ManualClock, manualClock } from './manual-clock.ts';

let clock: ManualClock;
let told: unknown[];
let first: ReturnType<typeof firstPrediction>;
const quiet = () => {};

beforeEach(() => {
  clock = manualClock();
  told = [];
  first = firstPrediction(clock, {
    info: (msg, data) => void told.push([msg, data]),
    warn: quiet,
    error: quiet,
  });
});

const waits = (ms: number) => {
  const one = { since: -1 };
  void first.orAfter(ms).then(() => {
    one.since = clock.mono();
  });
  return one;
};

describe('the first prediction', () => {
  it('is told once, with how long the device was blind', async () => {
    await clock.advance(412);
    first.made('gas');
    first.made('host');
    expect(told).toEqual([['first prediction', { model: 'gas', afterMs: 412 }]]);
  });

  it('is waited for, and not for longer than was said', async () => {
    const [patient, hasty] = [waits(100), waits(10)];
    await clock.advance(30);
    expect([patient.since, hasty.since]).toEqual([-1, 10]);
    first.made('gas');
    expect(patient.since).toBe(-1);
    await clock.advance(0);
    expect(patient.since).toBe(30);
  });

  it('is not waited for by who comes after it', async () => {
    first.made('gas');
    const late = waits(100);
    await clock.advance(0);
    expect(late.since).toBe(0);
  });

  it('hurries what was to begin by itself, once it may begin at all', async () => {
    let times = 0;
    const rest = first.hurries(atLatest(clock, () => times++));
    first.made('gas');
    await clock.advance(5_000);
    expect(times).toBe(0);
    rest.within(1_000);
    await clock.advance(0);
    expect(times).toBe(1);
  });
});
