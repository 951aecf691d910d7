import { randomInt } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { Ring } from '../../../agent/src/sinks/ring.ts';

describe('a ring', () => {
  it('is an array that loses its oldest, whatever is done to it', () => {
    const seed = randomInt(2 ** 31);
    let state = seed;
    const next = (below: number) => {
      state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
      return (state >>> 8) % below;
    };
    for (const limit of [1, 2, 3, 7]) {
      const ring = new Ring<number>(limit);
      let model: number[] = [];
      let taken: number[] = [];
      for (let i = 0; i < 2_000; i += 1) {
        const what = next(3);
        if (what === 0) {
          expect(ring.push(i)).toBe(model.length === limit);
          model = [...model, i].slice(-limit);
        } else if (what === 1) {
          const most = next(limit + 1);
          taken = ring.take(most);
          expect(taken, `seed ${seed}`).toEqual(model.slice(0, most));
          model = model.slice(most);
        } else {
          const all = [...taken, ...model];
          expect(ring.putBack(taken)).toBe(Math.max(0, all.length - limit));
          model = all.slice(-limit);
          taken = [];
        }
        expect(ring.length, `seed ${seed}`).toBe(model.length);
      }
    }
  });
});
