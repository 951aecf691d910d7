import { FormerCharts } from '@skein/agent/drift/former.ts';
import { describe, expect, it } from 'vitest';

/** Charts with a window of `size` rows that say in turn what is given. */
function charts(size: number, ...verdicts: ('calm' | 'drift' | 'not-enough-data')[]) {
  let rows = 0;
  return new FormerCharts({
    input: () => ++rows % size === 0,
    judge: () => verdicts.shift()!,
  });
}
const ROW = Float64Array.of(1);
const feed = (former: FormerCharts, rows: number) => {
  for (let i = 0; i < rows; i++) former.input(ROW);
};

describe('the charts of the model before', () => {
  it('say nothing until a window of the new readings is full, then what they last knew', () => {
    const former = charts(3, 'not-enough-data', 'calm', 'not-enough-data', 'drift');
    feed(former, 2);
    expect(former.beside()).toBeUndefined();
    feed(former, 1);
    expect(former.beside()).toBeUndefined();
    const said = [];
    for (let window = 0; window < 3; window++) {
      feed(former, 3);
      said.push(former.beside());
    }
    expect(said).toEqual(['calm', 'calm', 'drift']);
  });

  it('are over after ten windows of the new model', () => {
    const former = charts(1, ...new Array(20).fill('calm'));
    feed(former, 1);
    for (let i = 0; i < 10; i++) {
      expect(former.over).toBe(false);
      expect(former.beside()).toBe('calm');
    }
    expect(former.over).toBe(true);
    expect(former.beside()).toBeUndefined();
  });
});
