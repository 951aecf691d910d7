import { encodeColumn } from '@skein/protocol/batch/columns.ts';
import { decodeColumn } from '@skein/protocol/batch/read-columns.ts';
import { decode, encode } from 'cborg';
import { describe, expect, it } from 'vitest';
import { anyObject, anyValue, below, seeded } from './random.ts';

const roundTrip = (values: unknown[]): unknown[] =>
  decodeColumn(decode(encode(encodeColumn(values))), values.length);

describe('columns', () => {
  it('give back whatever was recorded, NaN, infinities, −0, unicode and empties included', () => {
    for (let seed = 1; seed <= 400; seed++) {
      const random = seeded(seed);
      const values = Array.from({ length: below(random, 30) }, () =>
        random() < 0.8 ? anyObject(random, 3) : anyValue(random, 3),
      );
      expect(roundTrip(values), `seed ${seed}`).toEqual(values);
    }
  });

  it('keep every float exactly, in as few bytes as lose nothing', () => {
    const series = [
      [1763812345678, 1763812346679, 1763812347678],
      [0.5, 0.25, 0.125],
      [51.2, 51.3, -0.4],
      [Math.PI, Math.E, 1e-310],
      [-0, 0, -0],
      [-0, -0],
      [2 ** 60, 2 ** 60],
      [Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER],
    ];
    for (const values of series) expect(roundTrip(values)).toEqual(values);
    expect(encodeColumn(series[0]!)[0]).toBe(1);
    expect(encodeColumn([0.1234567890123, 0.5].map(Math.fround))[0]).toBe(4);
    expect(encodeColumn(series[2]!)[0]).toBe(3);
    expect(encodeColumn(series[3]!)[0]).toBe(5);
  });

  it('replace what UTF-8 cannot carry and leave out what JSON leaves out', () => {
    expect(roundTrip([{ a: '\ud800', b: undefined }])).toEqual([{ a: '\ufffd' }]);
  });

  it('refuse what no record may hold', () => {
    const evil = JSON.parse('[{"__proto__": {"polluted": 1}}]');
    for (const values of [evil, [() => 1], [1n], [Symbol.iterator]]) {
      expect(() => encodeColumn(values)).toThrowError(expect.objectContaining({ code: 'BATCH_INVALID' }));
    }
    let deep: unknown = 1;
    for (let i = 0; i < 40; i++) deep = [deep];
    expect(() => encodeColumn([deep])).toThrowError(/deeper/);
  });

  it('refuse claims of more values than a batch may hold, before making them', () => {
    const bomb = [8, [0, 4_000_000], [0, 0]];
    expect(() => decodeColumn(bomb, 100)).toThrowError(/more than/);
    const nested = [8, [0, 1000], [8, [0, 1000], [8, [0, 1000], [0, 1]]]];
    expect(() => decodeColumn(nested, 1000)).toThrowError(/more than/);
    const wide = [
      7,
      ['a', 'b'],
      [null, null],
      [
        [0, 1],
        [1, new Uint8Array(3)],
      ],
    ];
    expect(() => decodeColumn(wide, 1000)).toThrowError(/present/);
  });

  it('answer every malformed column with BATCH_INVALID', () => {
    const bad: unknown[] = [
      null,
      7,
      [],
      [42],
      [0, [1]],
      [1, 'x'],
      [1, Uint8Array.of(0x80)],
      [1, Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1)],
      [3, 99, Uint8Array.of(2)],
      [5, new Uint8Array(7)],
      [6, ['a'], Uint8Array.of(1)],
      [6, [1], Uint8Array.of(0)],
      [7, ['__proto__'], [null], [[0, 1]]],
      [
        7,
        ['a', 'a'],
        [null, null],
        [
          [0, 1],
          [0, 1],
        ],
      ],
      [7, ['a'], [new Uint8Array(9)], [[0, 1]]],
      [8, [0, -1], [0, 1]],
      [8, [0, 0.5], [0, 1]],
      [9, Uint8Array.of(9), []],
      [9, Uint8Array.of(2), []],
      [9, Uint8Array.of(0), [[0, 1]]],
    ];
    for (const column of bad) {
      expect(() => decodeColumn(column, 1), JSON.stringify(column)).toThrowError(
        expect.objectContaining({ code: 'BATCH_INVALID' }),
      );
    }
  });
});
