import { describe, expect, it } from 'vitest';
import {
  addLoss,
  gapsIn,
  intersect,
  type Loss,
  lossesIn,
  removeLoss,
  sizeOf,
  subtract,
} from '../../../agent/src/outbox/ranges.ts';
import {
  accept,
  afterDestruction,
  lose,
  newStream,
  nextHeader,
  recordsIn,
  regain,
  reserve,
} from '../../../agent/src/outbox/stream-state.ts';
import { below, seeded } from '../../protocol/batch/random.ts';

const loss = (from: number, to: number, reason = 'cap', kind: Loss['kind'] = 'dropped'): Loss => ({
  epoch: 'e',
  from,
  to,
  reason,
  kind,
});

describe('runs of lost numbers', () => {
  it('join neighbours of one kind and reason, and only those', () => {
    const losses = [loss(0, 4), loss(10, 14)].reduce<Loss[]>(addLoss, []);
    expect(addLoss(losses, loss(5, 9))).toEqual([loss(0, 14)]);
    expect(addLoss(losses, loss(5, 9, 'disk-full'))).toHaveLength(3);
    expect(addLoss(losses, { ...loss(5, 9), epoch: 'f' })).toHaveLength(3);
  });

  it('hold the same numbers as a set would, whatever is added and taken', () => {
    for (let seed = 1; seed <= 200; seed++) {
      const random = seeded(seed);
      const model = new Set<number>();
      let losses: Loss[] = [];
      for (let step = 0; step < 30; step++) {
        const from = below(random, 60);
        const run = { from, to: from + below(random, 10) };
        const numbers = Array.from({ length: run.to - run.from + 1 }, (_, i) => run.from + i);
        if (random() < 0.6) {
          for (const part of subtract(run, lossesIn(losses, 'e', run))) {
            losses = addLoss(losses, { ...loss(part.from, part.to, random() < 0.5 ? 'cap' : 'age') });
          }
          for (const number of numbers) model.add(number);
        } else {
          losses = removeLoss(losses, 'e', run);
          for (const number of numbers) model.delete(number);
        }
        expect(sizeOf(losses), `seed ${seed}`).toBe(model.size);
        const inside = numbers.filter((number) => model.has(number)).length;
        expect(sizeOf(intersect(losses, run)), `seed ${seed}`).toBe(inside);
      }
    }
  });

  it('are told as gaps in order, joined where the reason is one', () => {
    const losses = [loss(5, 9, 'cap', 'lost'), loss(0, 4), loss(10, 12, 'age')];
    expect(gapsIn(losses, 'e', { from: 2, to: 11 })).toEqual([
      { from: 2, to: 9, reason: 'cap' },
      { from: 10, to: 11, reason: 'age' },
    ]);
  });

  it('are told as one when they are too many for a header', () => {
    const losses = Array.from({ length: 100 }, (_, i) => loss(i, i, i % 2 ? 'cap' : 'age'));
    expect(gapsIn(losses, 'e', { from: 0, to: 99 })).toEqual([{ from: 0, to: 99, reason: 'several' }]);
  });
});

describe('the numbers of a stream', () => {
  const id = { fleet: 'home', device: 'd-1' };

  it('tell losses before the first record in the next header', () => {
    const state = lose(accept(newStream('health', 'e', 1), 10), { from: 0, to: 3 }, 'dropped', 'cap');
    expect(nextHeader(state, id, { seq: 4, n: 6 })).toMatchObject({
      seq: 4,
      n: 6,
      gaps: [{ from: 0, to: 3, reason: 'cap' }],
      observed: 6,
    });
    expect(recordsIn(state, { from: 0, to: 9 })).toEqual([{ from: 4, to: 9 }]);
  });

  it('take back what turns out to be stored', () => {
    const state = lose(accept(newStream('health', 'e', 1), 10), { from: 0, to: 9 }, 'dropped', 'cap');
    expect(regain(state, [{ from: 3, to: 5 }])).toMatchObject({
      stored: 3,
      losses: [
        { from: 0, to: 2 },
        { from: 6, to: 9 },
      ],
    });
  });

  it('account for a destroyed database up to what was vouched for', () => {
    const before = { ...accept(newStream('health', 'e', 7), 20), deliveredNext: 12, stored: 10 };
    const state = lose(before, { from: 0, to: 1 }, 'dropped', 'cap');
    const after = afterDestruction(reserve(state, 100), 'f', 3);
    expect(after).toMatchObject({ epoch: 'f', ordinal: 8, nextSeq: 0, accepted: 120, stored: 10 });
    expect(sizeOf(after.losses) + after.stored).toBe(after.accepted);
  });
});
