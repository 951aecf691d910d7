import { atLatest } from '@skein/agent/at-latest.ts';
import { describe, expect, it } from 'vitest';
import { manualClock } from './manual-clock.ts';

function begun() {
  const clock = manualClock();
  let times = 0;
  return { clock, task: atLatest(clock, () => times++), times: () => times };
}

describe('what begins at the latest after a while', () => {
  it('does so by itself, once', async () => {
    const { clock, task, times } = begun();
    task.within(1_000);
    await clock.advance(999);
    expect(times()).toBe(0);
    await clock.advance(1);
    task.hurry();
    await clock.advance(5_000);
    expect(times()).toBe(1);
  });

  it('does so at once when it is hurried, however often, but not within the call', async () => {
    const { clock, task, times } = begun();
    task.within(1_000);
    task.hurry();
    task.hurry();
    expect(times()).toBe(0);
    await clock.advance(0);
    expect(times()).toBe(1);
    await clock.advance(5_000);
    expect(times()).toBe(1);
  });

  it('lets what waits for it follow, in order, and what comes later at once', async () => {
    const { clock, task, times } = begun();
    const said: string[] = [];
    const say = (word: string) => task.afterwards(() => said.push(`${word} ${times()}`));
    say('first');
    say('second');
    task.within(1_000);
    await clock.advance(999);
    expect(said).toEqual([]);
    await clock.advance(1);
    say('later');
    expect(said).toEqual(['first 1', 'second 1', 'later 1']);
  });

  it('is not put off by being hurried again and again', async () => {
    const { clock, task, times } = begun();
    task.within(1_000);
    clock.after(0, () => task.hurry());
    task.hurry();
    task.hurry();
    await clock.advance(0);
    expect(times()).toBe(1);
  });

  it('never does once cancelled, nor before it was asked for', async () => {
    const { clock, task, times } = begun();
    task.hurry();
    task.within(1_000);
    task.cancel();
    task.hurry();
    await clock.advance(5_000);
    expect(times()).toBe(0);
    expect(clock.pendingTimers()).toBe(0);
  });
});
