import { watchSink } from '@skein/agent/sinks/watch-sink.ts';
import { describe, expect, it } from 'vitest';
import { manualClock } from '../manual-clock.ts';

function watched() {
  const clock = manualClock();
  const open = new Map<string, string | undefined>();
  const counts = { queued: 3, delivered: 0, dropped: 7, failed: 0, problem: null as string | null };
  const watch = watchSink(
    { name: 'mail', counts: () => ({ ...counts }) },
    {
      clock,
      incidents: {
        raise: (code, { source, detail } = {}) => void open.set(`${code} ${source}`, detail),
        clear: (code, source) => void open.delete(`${code} ${source}`),
        open: () => [],
      },
    },
  );
  return { clock, counts, open, watch };
}

describe('a sink', () => {
  it('that fails for a minute is an incident that says what stands in the way, until it delivers again', async () => {
    const { clock, counts, open, watch } = watched();
    counts.problem = 'refused';
    watch.trouble();
    for (let i = 0; i < 5; i++) await clock.advance(10_000);
    expect([...open]).toEqual([]);
    for (let i = 0; i < 2; i++) await clock.advance(10_000);
    expect([...open]).toEqual([['SINK_FAILING mail', 'refused; 3 wait, 7 left out']]);
    counts.problem = null;
    await clock.advance(10_000);
    expect([...open]).toEqual([]);
  });

  it('whose peer was away for a moment is none', async () => {
    const { clock, counts, open, watch } = watched();
    counts.problem = 'refused';
    watch.trouble();
    watch.trouble();
    await clock.advance(10_000);
    counts.problem = null;
    for (let i = 0; i < 12; i++) await clock.advance(10_000);
    expect([...open]).toEqual([]);
  });

  it('that has stopped is looked at no more', async () => {
    const { clock, counts, open, watch } = watched();
    counts.problem = 'refused';
    watch.trouble();
    watch.stop();
    for (let i = 0; i < 12; i++) await clock.advance(10_000);
    expect([...open]).toEqual([]);
  });
});
