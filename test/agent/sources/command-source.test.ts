import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { childCommand } from '../../../agent/src/sources/child-command.ts';
import { type CommandHandlers, commandSource } from '../../../agent/src/sources/command-source.ts';
import type { Reading } from '../../../agent/src/sources/port.ts';
import { systemClock } from '../../../agent/src/system-clock.ts';
import { manualClock } from '../manual-clock.ts';

/** Running, and not a zombie that nobody has reaped yet. */
const alive = (pid: number): boolean => {
  try {
    return !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
};

describe('a command as a source', () => {
  it('is started again with doubling delays, and at once more patiently after a reading came', async () => {
    const clock = manualClock();
    const started: number[] = [];
    let current: CommandHandlers | undefined;
    const source = commandSource({ name: 'cmd', stallAfterMs: 60_000 }, clock, (handlers) => {
      started.push(clock.mono());
      current = handlers;
      return { stop: async () => {} };
    });
    source.start({ reading: () => {}, failed: () => {}, ended: () => {} });
    for (let i = 0; i < 3; i += 1) {
      current!.exited('exit code 1');
      await clock.advance(4_000);
    }
    expect(started).toEqual([0, 1_000, 6_000, 12_000]);
    current!.line('{"a":1}');
    current!.exited('exit code 0');
    await clock.advance(1_000);
    expect(started.at(-1)).toBe(13_000);
    await source.stop();
    current!.exited('stopped');
    await clock.advance(120_000);
    expect(started).toHaveLength(5);
  });

  it('reports a line that is no reading and takes the next', async () => {
    const failures: string[] = [];
    const reading = await new Promise<Reading>((resolve) => {
      const source = commandSource(
        { name: 'cmd', stallAfterMs: 60_000 },
        systemClock,
        childCommand('echo warming up; echo \'{"temp": 21.5}\'; sleep 60'),
      );
      source.start({
        reading: (r) => void source.stop().then(() => resolve(r)),
        failed: (e) => failures.push(e.message),
        ended: () => {},
      });
    });
    expect(reading).toMatchObject({ source: 'cmd', values: { temp: 21.5 } });
    expect(failures).toEqual([expect.stringMatching(/line 1: “warming up” is not JSON/)]);
  });

  it('takes the children of the command with it when it is stopped', async () => {
    let pid = 0;
    const source = commandSource(
      { name: 'cmd', stallAfterMs: 60_000 },
      systemClock,
      childCommand('sleep 300 & echo "{\\"pid\\": $!}"; wait'),
    );
    await new Promise<void>((resolve, reject) => {
      source.start({
        reading: (r) => {
          pid = r.values.pid!;
          resolve();
        },
        failed: reject,
        ended: () => {},
      });
    });
    expect(alive(pid)).toBe(true);
    await source.stop();
    await expect.poll(() => alive(pid)).toBe(false);
  });
});
