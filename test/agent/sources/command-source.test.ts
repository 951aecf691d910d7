import { describe, expect, it } from 'vitest';
import { childCommand } from '../../../agent/src/sources/child-command.ts';
import {
  type CommandHandlers,
  commandSource,
  type LaunchCommand,
  lineReader,
} from '../../../agent/src/sources/command-source.ts';
import type { Reading, Source, SourceHandlers } from '../../../agent/src/sources/port.ts';
import { systemClock, systemEntropy } from '../../../agent/src/system-clock.ts';
import { manualClock } from '../manual-clock.ts';
import { alive } from './alive.ts';

const linesOf = (launch: LaunchCommand, clock = systemClock, entropy = systemEntropy): Source =>
  commandSource(
    { name: 'cmd', stallAfterMs: 60_000, waits: true },
    { clock, entropy },
    launch,
    lineReader(undefined),
  );
const ignoring = (more: Partial<SourceHandlers>): SourceHandlers => ({
  reading: () => {},
  failed: () => {},
  ended: () => {},
  ...more,
});
const bytes = (text: string) => new TextEncoder().encode(text);

describe('a command as a source', () => {
  it('is started again with doubling delays, and at once more patiently after a reading came', async () => {
    const clock = manualClock();
    const started: number[] = [];
    let current: CommandHandlers | undefined;
    const launch: LaunchCommand = (handlers) => {
      started.push(clock.mono());
      current = handlers;
      return { pause: () => {}, resume: () => {}, stop: async () => {} };
    };
    // The most that chance can add: delays are 1 s, 2 s, 4 s … 60 s.
    const source = linesOf(launch, clock, { bytes: (n) => new Uint8Array(n).fill(0xff) });
    source.start(ignoring({}));
    for (let i = 0; i < 8; i += 1) {
      current!.exited('exit code 1');
      await clock.advance(60_000);
    }
    const gaps = started.slice(1).map((at, i) => at - Math.ceil(started[i]! / 60_000) * 60_000);
    expect(gaps.map(Math.round)).toEqual([1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]);
    current!.data(bytes('{"a":1}\n'));
    current!.exited('exit code 0');
    await clock.advance(1_000);
    expect(started.at(-1)! - 480_000).toBeCloseTo(1_000);
    await source.stop();
    current!.exited('stopped');
    await clock.advance(120_000);
    expect(started).toHaveLength(10);
  });

  it('waits at least half of each delay, by chance', async () => {
    const clock = manualClock();
    const said: string[] = [];
    const launch: LaunchCommand = (handlers) => {
      queueMicrotask(() => handlers.exited('gone'));
      return { pause: () => {}, resume: () => {}, stop: async () => {} };
    };
    const source = linesOf(launch, clock, { bytes: (n) => new Uint8Array(n) });
    source.start(ignoring({ failed: (e) => said.push(e.message) }));
    await clock.advance(2_000);
    await source.stop();
    expect(said[0]).toBe('gone; it is started again in 0.5 s');
  });

  it('reports a line that is no reading and takes the next', async () => {
    const failures: string[] = [];
    const reading = await new Promise<Reading>((resolve) => {
      const source = linesOf(childCommand('echo warming up; echo \'{"temp": 21.5}\'; sleep 60'));
      source.start(
        ignoring({
          reading: (r) => void source.stop().then(() => resolve(r)),
          failed: (e) => failures.push(e.message),
        }),
      );
    });
    expect(reading).toMatchObject({ source: 'cmd', values: { temp: 21.5 } });
    expect(failures).toEqual([expect.stringMatching(/line 1: “warming up” is not JSON/)]);
  });

  it('says with what code it ended and what it said last', async () => {
    const said = await new Promise<string>((resolve) => {
      const source = linesOf(
        childCommand(
          'for i in 1 2 3 4; do echo "line $i" >&2; done; echo "no such device: /dev/ttyUSB7" >&2; exit 3',
        ),
      );
      source.start(ignoring({ failed: (e) => void source.stop().then(() => resolve(e.message)) }));
    });
    expect(said).toMatch(
      /^the command ended with exit code 3: line 3 \| line 4 \| no such device: \/dev\/ttyUSB7; it is started again in \d\.\d s$/,
    );
  });

  it('does not read on while the model has no room, and loses nothing', async () => {
    let room: (() => void) | undefined;
    const seen: number[] = [];
    const source = linesOf(
      childCommand('i=0; while [ $i -lt 20000 ]; do echo "{\\"i\\":$i}"; i=$((i+1)); done; sleep 60'),
    );
    await new Promise<void>((resolve) => {
      source.start(
        ignoring({
          reading(r) {
            seen.push(r.values.i!);
            if (seen.length === 20_000) resolve();
          },
          room() {
            if (seen.length === 0 || seen.length % 2_000 !== 0 || room) return undefined;
            return new Promise((go) => {
              room = go;
              setImmediate(() => {
                go();
                setImmediate(() => (room = undefined));
              });
            });
          },
        }),
      );
    });
    await source.stop();
    expect(seen).toEqual(Array.from({ length: 20_000 }, (_, i) => i));
  });

  it.each([
    ['takes the children of the command with it', 'sleep 300 & echo "{\\"pid\\": $!}"; wait'],
    ['ends one that ignores being asked', 'trap "" TERM; echo "{\\"pid\\": $$}"; while :; do sleep 1; done'],
    ['ends one that is suspended', 'echo "{\\"pid\\": $$}"; kill -STOP $$; sleep 300'],
    ['does not wait for what left its group', 'setsid sleep 2 & echo "{\\"pid\\": $$}"; sleep 300'],
  ])('%s when it is stopped, within a second', async (_, command) => {
    let pid = 0;
    const source = linesOf(childCommand(command));
    await new Promise<void>((resolve, reject) => {
      source.start(
        ignoring({
          reading: (r) => {
            pid = r.values.pid!;
            resolve();
          },
          failed: reject,
        }),
      );
    });
    expect(alive(pid)).toBe(true);
    const asked = performance.now();
    await source.stop();
    expect(performance.now() - asked).toBeLessThan(1_500);
    await expect.poll(() => alive(pid)).toBe(false);
  });
});
