import { SkeinError } from '@skein/protocol/errors.ts';
import { describe, expect, it } from 'vitest';
import type { SinkItem, SinkMessage, Transport } from '../../../agent/src/sinks/port.ts';
import { queuedSink } from '../../../agent/src/sinks/queued-sink.ts';
import { message } from '../../contracts/sink.contract.ts';
import { manualClock } from '../manual-clock.ts';

function scene({ queueLimit = 4, batch = 1 } = {}) {
  const clock = manualClock();
  const attempts: { at: number; labels: string[] }[] = [];
  const said: string[] = [];
  let mood: 'well' | 'away' | 'refusing' | 'silent' = 'well';
  let ready = (): void => {};
  const transport: Transport = {
    open: (given) => {
      ready = given;
    },
    async send(items: readonly SinkItem[], stopped) {
      attempts.push({ at: Math.round(clock.mono()), labels: items.map((item) => item.message.label) });
      if (mood === 'silent')
        await new Promise((_, reject) =>
          stopped.addEventListener('abort', () => reject(new Error('stopped'))),
        );
      if (mood === 'away') throw new Error('nobody there');
      if (mood === 'refusing')
        throw new SkeinError('UNREACHABLE', 'status 400', { data: { permanent: true } });
    },
    close: async () => {},
  };
  const sink = queuedSink(
    { name: 's', queueLimit, batch },
    {
      clock,
      entropy: { bytes: (n) => new Uint8Array(n).fill(0xff) },
      trouble: (error) => said.push(error.message),
    },
    transport,
  );
  sink.start();
  const offer = async (...labels: string[]) => {
    for (const label of labels) sink.offer({ ...message(0), label } as SinkMessage);
    await clock.advance(0);
  };
  return {
    clock,
    attempts,
    said,
    sink,
    offer,
    be: (next: typeof mood) => (mood = next),
    ready: () => ready(),
  };
}

describe('a queue before a sink', () => {
  it('sends the same message again, more and more patiently, and the rest after it in order', async () => {
    const { attempts, be, clock, offer, sink } = scene();
    be('away');
    await offer('a', 'b');
    await clock.advance(15_000);
    expect(attempts.map(({ at }) => at)).toEqual([0, 1_000, 3_000, 7_000, 15_000]);
    expect(sink.counts()).toMatchObject({ queued: 2, delivered: 0, problem: 'nobody there' });
    be('well');
    await clock.advance(60_000);
    expect(attempts.slice(5).map(({ labels }) => labels[0])).toEqual(['a', 'b']);
    expect(sink.counts()).toEqual({ queued: 0, delivered: 2, dropped: 0, failed: 0, problem: null });
  });

  it('tries at once when the peer is back', async () => {
    const { attempts, be, clock, offer, ready } = scene();
    be('away');
    await offer('a');
    await clock.advance(100_000);
    const before = attempts.length;
    be('well');
    ready();
    await clock.advance(0);
    expect(attempts).toHaveLength(before + 1);
  });

  it('leaves out the oldest of those that wait, not the newest and not what is under way', async () => {
    const { attempts, be, clock, offer, sink } = scene({ queueLimit: 2 });
    be('silent');
    await offer('a', 'b', 'c', 'd', 'e');
    expect(sink.counts()).toMatchObject({ queued: 3, dropped: 2 });
    be('well');
    const stopping = sink.stop();
    await clock.advance(300);
    await stopping;
    sink.start();
    await clock.advance(0);
    expect(attempts.flatMap(({ labels }) => labels)).toEqual(['a', 'd', 'e']);
  });

  it('counts what is refused for good and goes on with the next', async () => {
    const { attempts, be, offer, sink, said } = scene();
    be('refusing');
    await offer('a', 'b');
    expect(sink.counts()).toMatchObject({ queued: 0, failed: 2, delivered: 0 });
    expect(said).toEqual(['status 400', 'status 400']);
    be('well');
    await offer('c');
    expect(attempts.at(-1)!.labels).toEqual(['c']);
  });

  it('takes together what came while an attempt was under way', async () => {
    const { attempts, offer } = scene({ queueLimit: 10, batch: 3 });
    await offer('a', 'b', 'c', 'd', 'e');
    expect(attempts.map(({ labels }) => labels.join(''))).toEqual(['a', 'bcd', 'e']);
  });

  it('gives an attempt a moment when it is stopped, and no more', async () => {
    const { be, clock, offer, sink } = scene();
    be('silent');
    await offer('a');
    let done = false;
    const stopping = sink.stop().then(() => (done = true));
    await clock.advance(190);
    expect(done).toBe(false);
    await clock.advance(20);
    await stopping;
    expect(clock.pendingTimers()).toBe(0);
  });
});
