/** The behaviour every {@link Sink} has, whatever it writes to: run by `sink.test.ts` for each adapter. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Sink, SinkMessage } from '../../agent/src/sinks/port.ts';

export interface SinkHarness {
  sink: Sink;
  /** What the peer got so far, in order. */
  received(): SinkMessage[];
  /** Takes the peer away, without goodbye. */
  breakPeer(): void | Promise<void>;
  dispose(): void | Promise<void>;
}

export const QUEUE_LIMIT = 50;

export const message = (i: number): SinkMessage => ({
  ts: 1_763_812_345_678 + i,
  device: 'd-1',
  source: 'cam',
  model: 'm',
  version: '1.0.0',
  label: `l${i}`,
  score: i / 7,
  alarm: i % 2 === 0 ? 0 : 1,
  latency_us: i,
});

const STOP_WITHIN_MS = 2_000;

/** @param peerless there is nobody from the start: what is delivered cannot be tried. */
export function describeSink(
  name: string,
  make: () => SinkHarness | Promise<SinkHarness>,
  { peerless = false } = {},
): void {
  describe(`${name} as a sink`, () => {
    let harness: SinkHarness;
    const thrown: unknown[] = [];
    const remember = (error: unknown) => thrown.push(error);
    beforeEach(async () => {
      thrown.length = 0;
      process.on('uncaughtException', remember);
      process.on('unhandledRejection', remember);
      harness = await make();
    });
    afterEach(async () => {
      await harness.sink.stop();
      await harness.dispose();
      process.off('uncaughtException', remember);
      process.off('unhandledRejection', remember);
      expect(thrown).toEqual([]);
    });
    const stopInTime = async (): Promise<void> => {
      const asked = performance.now();
      await harness.sink.stop();
      expect(performance.now() - asked).toBeLessThan(STOP_WITHIN_MS);
    };

    it.skipIf(peerless)('delivers what it is offered, whole and in order', async () => {
      const { sink, received } = harness;
      sink.start();
      for (let i = 0; i < 20; i += 1) sink.offer(message(i));
      await expect.poll(() => received().length, { timeout: 10_000 }).toBe(20);
      expect(received()).toEqual(Array.from({ length: 20 }, (_, i) => message(i)));
      await expect
        .poll(() => sink.counts())
        .toMatchObject({ delivered: 20, queued: 0, dropped: 0, problem: null });
    });

    it.skipIf(peerless)('can be stopped and started again', async () => {
      const { sink, received } = harness;
      await stopInTime();
      sink.start();
      await stopInTime();
      sink.offer(message(0));
      sink.start();
      sink.offer(message(1));
      await expect.poll(() => received().length, { timeout: 10_000 }).toBe(1);
      expect(received()).toEqual([message(1)]);
      await stopInTime();
      await stopInTime();
    });

    it('keeps at most its limit when its peer is gone, drops the oldest, counts them, and never waits', async () => {
      const { sink } = harness;
      sink.start();
      await harness.breakPeer();
      const total = 50_000;
      let most = 0;
      for (let i = 0; i < total; i += 1) {
        sink.offer(message(i));
        most = Math.max(most, sink.counts().queued);
        if (i % 5_000 === 0) await new Promise((resolve) => setImmediate(resolve));
      }
      // One attempt's messages are beside those that wait.
      expect(most).toBeLessThanOrEqual(2 * QUEUE_LIMIT);
      await expect.poll(() => sink.counts().dropped).toBeGreaterThan(total - 10_000);
      const { queued, delivered, dropped, failed } = sink.counts();
      expect(queued + delivered + dropped + failed).toBe(total);
      await stopInTime();
    });
  });
}
