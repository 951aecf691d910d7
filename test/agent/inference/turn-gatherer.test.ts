import { turnGatherer } from '@skein/agent/inference/turn-gatherer.ts';
import { describe, expect, it } from 'vitest';

/** A loop whose turns end when the test says so. */
function loop() {
  let due: (() => void)[] = [];
  const runs: number[] = [];
  const gather = turnGatherer((task) => due.push(task));
  return {
    runs,
    /** One start whose run takes `count` requests. */
    start: (count = 1) =>
      gather(() => {
        runs.push(count);
        return count;
      }),
    endTurn() {
      for (const task of due.splice(0)) task();
      due = [];
    },
  };
}

describe('the moment of a run on the caller’s thread', () => {
  it('is now while requests come alone', () => {
    const { start, endTurn, runs } = loop();
    for (let turn = 1; turn <= 3; turn++) {
      start();
      expect(runs).toHaveLength(turn);
      endTurn();
    }
  });

  it('is the end of the turn once two came in one', () => {
    const { start, endTurn, runs } = loop();
    start();
    start();
    expect(runs).toEqual([1]);
    endTurn();
    expect(runs).toEqual([1, 1]);
    start(5);
    expect(runs).toEqual([1, 1]);
    endTurn();
    expect(runs).toEqual([1, 1, 5]);
  });

  it('is now again after requests have come alone for long', () => {
    const { start, endTurn, runs } = loop();
    start();
    start();
    endTurn();
    for (let turn = 0; turn < 64; turn++) {
      start();
      endTurn();
    }
    const before = runs.length;
    start();
    expect(runs).toHaveLength(before + 1);
  });
});
