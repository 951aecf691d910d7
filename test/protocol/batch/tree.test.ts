import { MAX_VALUES } from '@skein/protocol/batch/columns.ts';
import { LARGEST, Numbers } from '@skein/protocol/batch/numbers.ts';
import { type Node, readTree, writeTree } from '@skein/protocol/batch/tree.ts';
import { BinaryCoder } from '@skein/protocol/delta/binary-coder.ts';
import { describe, expect, it } from 'vitest';
import { anyObject, anyValue, below, pick, type Random, seeded } from './random.ts';

interface Written {
  node: Node;
  bytes: number;
  read(): unknown[];
}

function write(values: unknown[]): Written {
  const coder = new BinaryCoder(true);
  const node = writeTree(values, new Numbers(coder));
  const frame = coder.close();
  const read = () => {
    const reader = new BinaryCoder(false);
    reader.open(frame);
    return readTree(node, values.length, new Numbers(reader), { left: MAX_VALUES });
  };
  return { node, bytes: frame.coded.length + frame.raw.length, read };
}

/** Columns as devices have them: steady, counting, noisy, sparse, at the edges of what a number can be. */
function column(random: Random): number[] {
  const n = 1 + below(random, 60);
  const start = (random() - 0.5) * 2 ** below(random, 53);
  const step = (random() - 0.5) * 2 ** below(random, 20);
  const places = 10 ** below(random, 11);
  const at = [
    () => start,
    (i: number) => Math.round(start + i * step),
    () => Math.round(start + (random() - 0.5) * step),
    () => (random() < 0.1 ? Math.round(step) : 0),
    (i: number) => Math.round((start % 1e6) * places + i) / places,
    () => Math.fround(random() * step),
    () => start * random(),
    () =>
      pick(random, [LARGEST, -LARGEST, LARGEST + 1, 2 ** 53 - 1, -(2 ** 53) + 1, 2 ** 60, 5e-324, 1.7e308]),
    () => pick(random, [-0, 0, Number.NaN, Number.POSITIVE_INFINITY, -1, 0.5]),
  ];
  const make = pick(random, at);
  return Array.from({ length: n }, (_, i) => make(i));
}

describe('the tree and its numbers', () => {
  it('give back whatever was recorded, missing fields, NaN, infinities, −0 and unicode included', () => {
    for (let seed = 1; seed <= 150; seed++) {
      const random = seeded(seed);
      const values = Array.from({ length: below(random, 30) }, () =>
        random() < 0.8 ? anyObject(random, 3) : anyValue(random, 3),
      );
      expect(write(values).read(), `seed ${seed}`).toEqual(values);
    }
  });

  it('give back every column of numbers exactly, however large or small', () => {
    for (let seed = 1; seed <= 600; seed++) {
      const values = column(seeded(seed));
      const read = write(values).read();
      expect(
        read.every((v, i) => Object.is(v, values[i])),
        `seed ${seed}: ${values.join(' ')} became ${read.join(' ')}`,
      ).toBe(true);
    }
  });

  it('pay next to nothing for what does not change, repeats, or counts', () => {
    const many = (at: (i: number) => unknown) => write(Array.from({ length: 1000 }, (_, i) => at(i))).bytes;
    expect(many(() => 51.2)).toBe(0);
    expect(many((i) => (i < 500 ? 51.2 : 51.3))).toBeLessThan(16);
    expect(many((i) => 1763812345678 + i * 1000)).toBeLessThan(20);
    expect(many((i) => (i === 700 ? 1 : 0))).toBeLessThan(16);
    expect(many((i) => i % 2 === 0)).toBeLessThan(16);
    expect(many((i) => (i < 300 ? 'usual' : 'unusual'))).toBeLessThan(16);
    expect(many((i) => (i < 10 ? Math.PI : Math.E))).toBeLessThan(40);
  });

  it('choose the shortest kind that loses nothing', () => {
    expect(write([1, 2]).node).toBe(1);
    expect(write([51.2, 51.3]).node).toBe(11);
    expect(write([0.123456789, 1]).node).toBe(19);
    expect(write([0.1234567890123, 0.5].map(Math.fround)).node).toBe(2);
    expect(write([Math.PI, 1e-310]).node).toBe(3);
    expect(write([true, false]).node).toBe(4);
  });

  it('refuse claims of more values than a batch may hold, before making them', () => {
    const reader = new BinaryCoder(false);
    reader.open({ coded: new Uint8Array(100), raw: new Uint8Array(100) });
    const read = (node: unknown, n: number) => () =>
      readTree(node, n, new Numbers(reader), { left: MAX_VALUES });
    expect(read([7, [0, 4_000_000], [0, 0]], 100)).toThrowError(/more than/);
    expect(read([7, [0, 1000], [7, [0, 1000], [7, [0, 1000], [0, 1]]]], 1000)).toThrowError(/more than/);
    let deep: unknown = [0, 1];
    for (let i = 0; i < 40; i++) deep = [7, [0, 1], deep];
    expect(read(deep, 1)).toThrowError(/deeper/);
  });

  it('answer every malformed node with BATCH_INVALID', () => {
    const bad: unknown[] = [
      null,
      'x',
      [],
      [42],
      [0, [1]],
      9,
      10,
      20,
      1.5,
      [5, 'a'],
      [5, [7]],
      [6, ['__proto__'], [0], [[0, 1]]],
      [
        6,
        ['a', 'a'],
        [0, 0],
        [
          [0, 1],
          [0, 1],
        ],
      ],
      [6, ['a'], [2], [[0, 1]]],
      [6, ['a'], [0, 0], [[0, 1]]],
      [7, [0, -1], [0, 1]],
      [7, [0, 0.5], [0, 1]],
      [8, [[0, 1]]],
    ];
    for (const node of bad) {
      const reader = new BinaryCoder(false);
      reader.open({ coded: new Uint8Array(9), raw: new Uint8Array(9) });
      expect(
        () => readTree(node, 1, new Numbers(reader), { left: MAX_VALUES }),
        JSON.stringify(node),
      ).toThrowError(expect.objectContaining({ code: 'BATCH_INVALID' }));
    }
  });
});
