/** A camera program that hangs: a real process, stopped by a real SIGSTOP, under the agent's own supervision. */
import { join } from 'node:path';
import type { EventMessage } from '@skein/protocol/messages.ts';
import { describe, expect, it } from 'vitest';
import { openIncidents } from '../../../agent/src/health/incidents.ts';
import { childCommand } from '../../../agent/src/sources/child-command.ts';
import { commandSource } from '../../../agent/src/sources/command-source.ts';
import { rawReader } from '../../../agent/src/sources/frames/raw.ts';
import type { Source } from '../../../agent/src/sources/port.ts';
import { runSources } from '../../../agent/src/sources/run-sources.ts';
import { systemClock, systemEntropy } from '../../../agent/src/system-clock.ts';
import { alive } from './alive.ts';

const SCRIPT = join(import.meta.dirname, 'write-frames.mjs');

/** The pid in each frame that comes by. */
function watched(source: Source, pids: number[]): Source {
  return {
    ...source,
    start: (handlers) =>
      source.start({
        ...handlers,
        reading(reading) {
          if (reading.picture) pids.push(Buffer.from(reading.picture.bytes).readUInt32LE());
          handlers.reading(reading);
        },
      }),
  };
}

describe('a camera program that hangs', () => {
  it('is noticed within its own limit, ended and started again alone, and the incident ends by itself', async () => {
    const [left, right] = [[] as number[], [] as number[]];
    const camera = (name: string, pids: number[]) =>
      watched(
        commandSource(
          { name, stallAfterMs: 400, waits: false },
          { clock: systemClock, entropy: systemEntropy },
          childCommand(`${process.execPath} ${SCRIPT}`),
          rawReader({ format: 'gray8', width: 8, height: 8 }),
        ),
        pids,
      );
    const events: EventMessage[] = [];
    const log = { info: () => {}, warn: () => {}, error: () => {} };
    const running = runSources(
      [
        { kind: 'frames', model: 'm', source: camera('left', left) },
        { kind: 'frames', model: 'm', source: camera('right', right) },
      ],
      {
        engine: { current: () => undefined } as never,
        boot: 'b',
        clock: systemClock,
        log,
        incidents: openIncidents(systemClock, systemEntropy, { load: () => [], save: () => {} }, (e) =>
          events.push(e),
        ),
        onPrediction: () => {},
        onDrift: () => {},
      },
    );
    running.start();
    try {
      await expect.poll(() => Math.min(left.length, right.length), { timeout: 10_000 }).toBeGreaterThan(3);
      events.length = 0;
      const hung = left[0]!;
      process.kill(hung, 'SIGSTOP');
      await expect.poll(() => left.at(-1) !== hung, { timeout: 15_000 }).toBe(true);
      const about = events.map(({ type, after }) => [type, after.code, after.source]);
      expect(about).toEqual([
        ['new', 'SOURCE_STALLED', 'left'],
        ['end', 'SOURCE_STALLED', 'left'],
      ]);
      expect(new Set(right).size).toBe(1);
      expect(alive(hung)).toBe(false);
    } finally {
      await running.stop();
    }
    // The shell is waited for; what it had started was ended with it and is gone a moment later.
    const started = [...new Set([...left, ...right])];
    await expect.poll(() => started.filter(alive), { timeout: 5_000 }).toEqual([]);
  });
});
