import { describe, expect, it } from 'vitest';
import type { Source, SourceHandlers } from '../../../agent/src/sources/port.ts';
import { supervise } from '../../../agent/src/sources/supervise.ts';
import { manualClock } from '../manual-clock.ts';

function scripted() {
  const clock = manualClock();
  const seen: string[] = [];
  let handlers: SourceHandlers | undefined;
  const source: Source = {
    name: 'cam',
    stallAfterMs: 1_000,
    start(given) {
      handlers = given;
      seen.push(`start ${clock.mono()}`);
    },
    async stop() {
      seen.push(`stop ${clock.mono()}`);
    },
  };
  const watched = supervise(source, clock, {
    reading: () => {},
    failed: (name, error) => seen.push(`failed ${name} ${error.message}`),
    stalled: (name, silentMs) => seen.push(`stalled ${name} ${silentMs}`),
    recovered: (name) => seen.push(`recovered ${name}`),
    ended: (name) => seen.push(`ended ${name}`),
  });
  const read = () => handlers!.reading({ ts: 0, mono: clock.mono(), source: 'cam', values: { a: 1 } });
  return { clock, seen, watched, read, handlers: () => handlers! };
}

describe('a supervised source', () => {
  it('is restarted alone when it is silent for its limit, and again after twice that, until a reading comes', async () => {
    const { clock, seen, watched, read } = scripted();
    watched.start();
    await clock.advance(500);
    read();
    await clock.advance(1_000);
    expect(seen).toEqual(['start 0', 'stalled cam 1000', 'stop 1500', 'start 1500']);
    expect(watched.status).toBe('stalled');
    await clock.advance(2_000);
    expect(seen.slice(4)).toEqual(['stop 3500', 'start 3500']);
    read();
    expect(seen.at(-1)).toBe('recovered cam');
    expect(watched).toMatchObject({ status: 'delivering', readings: 2, lastReadingMono: 3500 });
  });

  it('is not stalled while readings come, nor after a replay ended, nor once stopped', async () => {
    const { clock, seen, watched, read, handlers } = scripted();
    watched.start();
    for (let i = 0; i < 10; i += 1) {
      await clock.advance(900);
      read();
    }
    handlers().ended();
    await clock.advance(60_000);
    await watched.stop();
    expect(seen).toEqual(['start 0', 'ended cam', 'stop 69000']);
    expect(clock.pendingTimers()).toBe(0);
  });
});

describe('a source that knows when it has nothing to say', () => {
  it('is silent from then on only', async () => {
    const { clock, seen, watched, read, handlers } = scripted();
    watched.start();
    read();
    handlers().quiet!(60_000);
    await clock.advance(60_500);
    expect(seen).toEqual(['start 0']);
    await clock.advance(600);
    expect(seen).toEqual(['start 0', 'stalled cam 1000', 'stop 61000', 'start 61000']);
  });
});
