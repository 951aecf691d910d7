/** The behaviour every {@link Source} has, whatever it reads from: run by `source.test.ts` for each adapter. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Reading, Source, SourceHandlers } from '../../agent/src/sources/port.ts';

export interface SourceHarness {
  source: Source;
  /** Causes a reading where the source does not find its own; called again and again until one came. */
  feed?(): void | Promise<void>;
  /** Takes away what it reads from; absent where that cannot go away. */
  breakPeer?(): void | Promise<void>;
  dispose(): void | Promise<void>;
}

interface Heard {
  readings: Reading[];
  failures: Error[];
  handlers: SourceHandlers;
}

function listen(): Heard {
  const heard: Omit<Heard, 'handlers'> = { readings: [], failures: [] };
  const handlers: SourceHandlers = {
    reading: (reading) => heard.readings.push(reading),
    failed: (error) => heard.failures.push(error),
    ended: () => {},
  };
  return { ...heard, handlers };
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
/** The agent gives its sources 900 ms to stop; a loaded test machine gets more. */
const STOP_WITHIN_MS = 2_000;

export function describeSource(name: string, make: () => SourceHarness | Promise<SourceHarness>): void {
  describe(`${name} as a source`, () => {
    let harness: SourceHarness;
    const thrown: unknown[] = [];
    const remember = (error: unknown) => thrown.push(error);
    beforeEach(async () => {
      thrown.length = 0;
      process.on('uncaughtException', remember);
      process.on('unhandledRejection', remember);
      harness = await make();
    });
    afterEach(async () => {
      await harness.source.stop();
      await harness.dispose();
      process.off('uncaughtException', remember);
      process.off('unhandledRejection', remember);
    });

    const until = async (fits: () => boolean): Promise<void> => {
      const deadline = performance.now() + 10_000;
      while (!fits()) {
        if (performance.now() > deadline) throw new Error('nothing came within 10 s');
        await harness.feed?.();
        await pause(5);
      }
    };
    const stopInTime = async (): Promise<void> => {
      const asked = performance.now();
      await harness.source.stop();
      expect(performance.now() - asked).toBeLessThan(STOP_WITHIN_MS);
    };

    it('delivers readings under its name, with the time they came', async () => {
      const heard = listen();
      harness.source.start(heard.handlers);
      await until(() => heard.readings.length > 0);
      const [first] = heard.readings as [Reading];
      expect(first.source).toBe(harness.source.name);
      expect(Math.abs(Date.now() - first.ts)).toBeLessThan(20_000);
      expect(Math.abs(performance.now() - first.mono)).toBeLessThan(20_000);
      expect(Object.keys(first.values).length > 0).toBe(first.picture === undefined);
    });

    it('stops in time and says nothing after it', async () => {
      const heard = listen();
      harness.source.start(heard.handlers);
      await until(() => heard.readings.length > 0);
      await stopInTime();
      const { length } = heard.readings;
      const { length: failures } = heard.failures;
      for (let i = 0; i < 20; i += 1) {
        await Promise.resolve()
          .then(() => harness.feed?.())
          .catch(() => {});
        await pause(10);
      }
      expect(heard.readings).toHaveLength(length);
      expect(heard.failures).toHaveLength(failures);
    });

    it('can be stopped before it delivered, twice, and before it was started', async () => {
      await stopInTime();
      harness.source.start(listen().handlers);
      await stopInTime();
      await stopInTime();
      expect(thrown).toEqual([]);
    });

    it('can be started again, and tells only its last listener', async () => {
      const [first, second] = [listen(), listen()];
      harness.source.start(first.handlers);
      await until(() => first.readings.length > 0);
      await harness.source.stop();
      const { length } = first.readings;
      harness.source.start(second.handlers);
      await until(() => second.readings.length > 0);
      expect(first.readings).toHaveLength(length);
    });

    it('throws at nobody when what it reads from goes away', async (context) => {
      if (!harness.breakPeer) return context.skip('nobody is there who could go away');
      const heard = listen();
      harness.source.start(heard.handlers);
      await until(() => heard.readings.length > 0);
      await harness.breakPeer();
      await expect.poll(() => heard.failures.length, { timeout: 10_000 }).toBeGreaterThan(0);
      expect(heard.failures[0]!.message).toMatch(/\w/);
      await stopInTime();
      expect(thrown).toEqual([]);
    });
  });
}
