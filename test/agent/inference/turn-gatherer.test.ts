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
    /** That wait for the end of this turn. */
    tasks: () => due.length,
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

  /** Starts that came alone for long. */
  function lonely() {
    const one = loop();
    for (let turn = 0; turn < 64; turn++) {
      one.start();
      one.endTurn();
    }
    one.runs.length = 0;
    return one;
  }

  it('asks for the end of one turn in four once starts have come alone for long', () => {
    const { start, endTurn, runs, tasks } = lonely();
    let asked = 0;
    for (let turn = 0; turn < 8; turn++) {
      start();
      asked += tasks();
      endTurn();
    }
    expect(runs).toHaveLength(8);
    expect(asked).toBe(2);
  });

  it('does not let a caller that awaits answer after answer hold up the turn, however long it was alone', () => {
    const { start, endTurn, runs } = lonely();
    for (let i = 0; i < 10; i++) start();
    expect(runs).toHaveLength(4);
    endTurn();
    expect(runs).toHaveLength(10);
  });

  it('finds company again soon after it has been alone for long', () => {
    const { start, endTurn, runs } = lonely();
    for (let turn = 0; turn < 2; turn++) {
      for (let i = 0; i < 3; i++) start();
      endTurn();
    }
    const before = runs.length;
    start(3);
    expect(runs).toHaveLength(before);
    endTurn();
    expect(runs).toHaveLength(before + 1);
  });
});
