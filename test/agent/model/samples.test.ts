import { readSamples } from '@skein/agent/model/samples.ts';
import { describe, expect, it } from 'vitest';

const bytes = (text: string) => new TextEncoder().encode(text);
const rowsOf = (name: string, data: Uint8Array, width = 2) =>
  readSamples(name, data, width).rows.map((row) => [...row]);

describe('data files', () => {
  it('CSV with a header, a known class, an empty cell and Windows line ends', () => {
    expect(readSamples('a.csv', bytes('x,label,y\r\n1,cat,2\r\n,dog,-3e2\r\n'), 2)).toEqual({
      columns: ['x', 'y'],
      rows: [Float64Array.of(1, 2), Float64Array.of(Number.NaN, -300)],
      truth: ['cat', 'dog'],
    });
  });

  it('CSV without a header', () => {
    expect(rowsOf('a.csv', bytes('1,2\n3,NaN\n'))).toEqual([
      [1, 2],
      [3, Number.NaN],
    ]);
  });

  it('JSON: one array, an array of arrays, nested shapes', () => {
    expect(rowsOf('a.json', bytes('[1, 2]'))).toEqual([[1, 2]]);
    expect(rowsOf('a.json', bytes('[[1, 2], [3, null]]'))).toEqual([
      [1, 2],
      [3, Number.NaN],
    ]);
    expect(rowsOf('a.json', bytes('[[[1], [2]]]'))).toEqual([[1, 2]]);
  });

  it('JSON lines of arrays or of named values', () => {
    expect(rowsOf('a.jsonl', bytes('[1,2]\n[3,4]\n'))).toEqual([
      [1, 2],
      [3, 4],
    ]);
    expect(readSamples('a.jsonl', bytes('{"x":1,"y":2}\n'), 2).columns).toEqual(['x', 'y']);
  });

  it('NumPy arrays of floats and of bytes', () => {
    const npy = (descr: string, shape: string, data: Uint8Array) => {
      const header = `${`{'descr': '${descr}', 'fortran_order': False, 'shape': ${shape}, }`.padEnd(117)}\n`;
      const head = Uint8Array.of(0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, header.length, 0);
      return new Uint8Array([...head, ...bytes(header), ...data]);
    };
    const floats = new Uint8Array(Float32Array.of(1, 2, 3, 4, 5, 6).buffer);
    expect(rowsOf('a.npy', npy('<f4', '(3, 2)', floats))).toEqual([
      [1, 2],
      [3, 4],
      [5, 6],
    ]);
    expect(rowsOf('a.npy', npy('|u1', '(1, 3)', Uint8Array.of(7, 8, 255)))).toEqual([[7, 8, 255]]);
    expect(() => rowsOf('a.npy', npy('<f4', '(4, 2)', floats))).toThrow(/6 values, its shape 8/);
    expect(() => rowsOf('a.npy', npy('<c8', '(3, 1)', floats))).toThrow(/<c8/);
  });

  it('IDX and raw bytes', () => {
    const idx = Uint8Array.of(0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 2, 1, 2, 3, 4);
    expect(rowsOf('t10k-images-idx3-ubyte', idx)).toEqual([
      [1, 2],
      [3, 4],
    ]);
    expect(rowsOf('a.u8', Uint8Array.of(1, 2, 3, 4))).toEqual([
      [1, 2],
      [3, 4],
    ]);
  });

  it.each([
    ['a.csv', '', 'empty'],
    ['a.csv', 'x,y\n1\n', 'line 2 has 1 cells'],
    ['a.csv', 'x,y\n1,two\n', 'line 2: “two”'],
    ['a.json', '{"a":1}', 'an array'],
    ['a.json', '[1', 'not JSON'],
    ['a.json', '["x"]', 'is not a number'],
    ['a.npy', 'nonsense nonsense', 'not a .npy'],
    ['a.idx', 'nonsense', 'not an IDX'],
    ['a.u8', 'abc', 'no whole number of samples'],
    ['a.exe', 'abc', 'not known'],
  ])('%s holding “%s” is refused: %s', (name, text, words) => {
    expect(() => readSamples(name, bytes(text), 2)).toThrow(
      expect.objectContaining({ code: 'SOURCE_INVALID', message: expect.stringContaining(words) }),
    );
  });
});
