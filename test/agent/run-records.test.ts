import type { PredictionRecord, UpdateReport } from '@skein/protocol/records.ts';
import { describe, expect, it } from 'vitest';
import type { Outbox } from '../../agent/src/outbox/port.ts';
import { createRecorder } from '../../agent/src/run-records.ts';
import { manualClock } from './manual-clock.ts';

function scene() {
  const clock = manualClock();
  const held: string[] = [];
  const accepted: string[] = [];
  const said: (string | null)[] = [];
  let full = false;
  let sampled = true;
  let leftOut = 0;
  let sends = 0;
  const outbox = {
    append: (stream: string) => void held.push(stream),
    leaveOut: () => void leftOut++,
    commit() {
      if (full) throw new Error('disk full');
      accepted.push(...held.splice(0));
      return 0;
    },
  } as unknown as Outbox;
  const recorder = createRecorder({
    outbox,
    clock,
    log: { info() {}, warn() {}, error() {} },
    boot: 'b',
    commitIntervalMs: 10_000,
    sampler: () => sampled,
    send: () => (sends += 1),
    trouble: (message) => said.push(message),
  });
  recorder.start();
  const predict = (alarm: 0 | 1) =>
    recorder.prediction({ source: 's', model: 'm', alarm } as PredictionRecord);
  const sample = (on: boolean) => (sampled = on);
  const fill = (on: boolean) => (full = on);
  const counts = { sends: () => sends, leftOut: () => leftOut };
  return { clock, recorder, accepted, said, predict, ...counts, fill, sample };
}

describe('recording', () => {
  it('commits in groups at the interval', async () => {
    const run = scene();
    run.predict(0);
    run.predict(0);
    await run.clock.advance(9_999);
    expect(run.accepted).toEqual([]);
    await run.clock.advance(1);
    expect(run.accepted).toEqual(['predictions', 'predictions']);
    expect(run.sends()).toBe(0);
  });

  it('counts what sampling leaves out and records it not', async () => {
    const run = scene();
    run.predict(0);
    run.sample(false);
    run.predict(0);
    run.predict(0);
    await run.clock.advance(10_000);
    expect(run.accepted).toEqual(['predictions']);
    expect(run.leftOut()).toBe(2);
  });

  it('commits and sends at once when an alarm begins, once while it lasts', () => {
    const run = scene();
    run.predict(0);
    run.predict(1);
    expect([run.accepted.length, run.sends()]).toEqual([2, 1]);
    run.predict(1);
    expect([run.accepted.length, run.sends()]).toEqual([2, 1]);
    run.predict(0);
    run.predict(1);
    expect([run.accepted.length, run.sends()]).toEqual([5, 2]);
  });

  it('tries a failed commit again, and keeps an update report for its machine to report again', async () => {
    const run = scene();
    run.fill(true);
    run.predict(0);
    await run.clock.advance(10_000);
    expect(run.said.at(-1)).toBe('disk full');
    expect(() => run.recorder.report({} as UpdateReport)).toThrow('disk full');
    run.fill(false);
    await run.clock.advance(10_000);
    expect(run.said.at(-1)).toBeNull();
    expect(run.accepted).toEqual(['predictions', 'events']);
  });

  it('commits what is left when it stops', () => {
    const run = scene();
    run.predict(0);
    run.recorder.stop();
    expect(run.accepted).toEqual(['predictions']);
    expect(run.clock.pendingTimers()).toBe(0);
  });
});
