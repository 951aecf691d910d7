import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { type DataOptions, openArgument, openData } from '@skein/agent/model/data/disk-data.ts';
import type { Entry, Sample } from '@skein/agent/model/data/samples.ts';
import { afterAll, describe, expect, it } from 'vitest';

const dir = mkdtempSync(join(tmpdir(), 'skein-data-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));
const NUMPY = fileURLToPath(new URL('../../../golden/npy/', import.meta.url));

const write = (name: string, data: string | Uint8Array): string => {
  const path = join(dir, name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, data);
  return path;
};

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const item of items) found.push(item);
  return found;
}

async function entriesOf(path: string, options?: DataOptions): Promise<Entry[]> {
  const data = await openArgument(path, options);
  return all(data.samples());
}

const valuesOf = (entry: Entry): number[] => {
  const { content } = entry as Sample;
  return content.kind === 'values' ? Array.from(content.values, Number) : [];
};
const rows = async (path: string, options?: DataOptions) => (await entriesOf(path, options)).map(valuesOf);
const problems = async (path: string, options?: DataOptions) =>
  (await entriesOf(path, options)).flatMap((entry) => ('problem' in entry ? [entry.problem.message] : []));

describe('a NumPy array', () => {
  const types = ['i1', 'u1', 'i2', 'u2', 'i4', 'u4', 'i8', 'u8', 'f2', 'f4', 'f8'];
  const files = types.flatMap((type) => (type.endsWith('1') ? [`${type}-le`] : [`${type}-le`, `${type}-be`]));
  const base = [
    [0, 1],
    [2, 3],
    [100, 5],
  ];

  it.each([...files, 'version2-f4', 'version3-f4'])('as %s reads as NumPy wrote it', async (name) => {
    expect(await rows(`${NUMPY}${name}.npy`)).toEqual(base);
  });

  it('of truth values reads as 0 and 1', async () => {
    expect(await rows(`${NUMPY}bool.npy`)).toEqual([
      [1, 0],
      [0, 1],
      [1, 1],
    ]);
  });

  it('in Fortran order reads as its samples, with their shape', async () => {
    const entries = await entriesOf(`${NUMPY}fortran-f4.npy`);
    expect(entries.map(valuesOf)).toEqual(
      Array.from({ length: 4 }, (_, n) => Array.from({ length: 6 }, (_, i) => 6 * n + i)),
    );
    expect(entries[0]).toMatchObject({ where: 'fortran-f4.npy sample 0', content: { shape: [2, 3] } });
  });

  it('with half-precision specials keeps them', async () => {
    const [nan, infinite, small] = await rows(`${NUMPY}special-f2.npy`);
    expect(nan).toEqual([Number.NaN, Number.POSITIVE_INFINITY]);
    expect(infinite).toEqual([Number.NEGATIVE_INFINITY, -0]);
    expect(small![0]).toBeCloseTo(6e-8, 9);
    expect(small![1]).toBe(65504);
  });

  it('that as a whole is what the model takes is one sample, else its first axis counts them', async () => {
    expect(await rows(`${NUMPY}one-axis-f4.npy`, { width: 6 })).toEqual([[0, 1, 2, 3, 4, 5]]);
    expect(await rows(`${NUMPY}one-axis-f4.npy`, { width: 1 })).toHaveLength(6);
    expect(await rows(`${NUMPY}scalar-f4.npy`)).toEqual([[7]]);
    expect(await rows(`${NUMPY}empty-f4.npy`)).toEqual([]);
  });

  it('with 64-bit integers keeps what a double can not hold', async () => {
    const [entry] = (await entriesOf(`${NUMPY}large-i8.npy`)) as Sample[];
    expect(entry!.content).toMatchObject({ values: BigInt64Array.of(2n ** 53n + 1n) });
  });

  it.each([
    ['complex', '<c8'],
    ['structured', 'structured array'],
    ['text', '<U3'],
  ])('of %s is refused: %s', async (name, words) => {
    await expect(rows(`${NUMPY}${name}.npy`)).rejects.toMatchObject({
      code: 'SOURCE_INVALID',
      message: expect.stringContaining(words),
    });
  });

  it('that holds fewer or more bytes than its shape needs is refused with both', async () => {
    const header = `${"{'descr': '<f4', 'fortran_order': False, 'shape': (4, 2), }".padEnd(117)}\n`;
    const head = Buffer.concat([Buffer.from([0x93, 78, 85, 77, 80, 89, 1, 0, 118, 0]), Buffer.from(header)]);
    const short = write('short.npy', Buffer.concat([head, Buffer.alloc(28)]));
    await expect(rows(short)).rejects.toThrow(/sample 3 of 4: 8 bytes, 4 are there/);
    const long = write('long.npy', Buffer.concat([head, Buffer.alloc(33)]));
    await expect(rows(long)).rejects.toThrow(/goes on after the 4 samples/);
  });

  it('whose shape claims more than can be is refused before anything is allocated', async () => {
    const header = `${"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 99999999999), }".padEnd(117)}\n`;
    const head = Buffer.concat([Buffer.from([0x93, 78, 85, 77, 80, 89, 1, 0, 118, 0]), Buffer.from(header)]);
    await expect(rows(write('huge.npy', head))).rejects.toThrow(/one sample has 99999999999 values/);
  });
});

describe('several NumPy arrays in one file', () => {
  it.each(['two-inputs.npz', 'two-inputs-deflated.npz'])('%s are read in step, by name', async (name) => {
    const entries = (await entriesOf(NUMPY + name)) as Sample[];
    expect(entries).toHaveLength(3);
    expect(entries[1]!.content).toEqual({
      kind: 'named',
      arrays: {
        ids: { shape: [2], values: BigInt64Array.of(2n, 3n) },
        mask: { shape: [2], values: Float32Array.of(1, 1) },
      },
    });
    if (name === 'two-inputs.npz') expect(entries.map(({ truth }) => truth)).toEqual(['2', '0', '1']);
  });

  it('of different lengths are refused with them', async () => {
    await expect(rows(`${NUMPY}uneven.npz`)).rejects.toThrow(/a 3, b 2/);
  });
});

describe('comma-separated values', () => {
  it('with a header, a known class, missing cells, quotes and Windows line ends', async () => {
    const path = write('a.csv', '\ufeff"x, one",label,y\r\n1,"cat ""a""\nb",2\r\n,dog,-3e2\r\nnan,bird,-inf');
    const data = await openData(path);
    expect(data.columns).toEqual(['x, one', 'y']);
    const entries = (await all(data.samples())) as Sample[];
    expect(entries.map(valuesOf)).toEqual([
      [1, 2],
      [Number.NaN, -300],
      [Number.NaN, Number.NEGATIVE_INFINITY],
    ]);
    expect(entries.map(({ truth }) => truth)).toEqual(['cat "a"\nb', 'dog', 'bird']);
    expect(entries.map(({ where }) => where)).toEqual(['a.csv line 2', 'a.csv line 4', 'a.csv line 5']);
  });

  it('without a header, with the class as text in the last cell', async () => {
    const entries = (await entriesOf(write('iris.csv', '5.1,3.5,setosa\n4.9,3,virginica\n'))) as Sample[];
    expect(entries.map(({ truth }) => truth)).toEqual(['setosa', 'virginica']);
    expect(entries.map(valuesOf)).toEqual([
      [5.1, 3.5],
      [4.9, 3],
    ]);
  });

  it('with semicolons, and the class in a column that is named', async () => {
    const path = write('semi.csv', 'a;kind;b\n1;3;2\n');
    const [entry] = (await entriesOf(path, { truthColumn: 'kind' })) as Sample[];
    expect([valuesOf(entry!), entry!.truth]).toEqual([[1, 2], '3']);
    await expect(rows(path, { truthColumn: 'other' })).rejects.toThrow(
      /no column `other`; there are a, kind, b/,
    );
  });

  it('with a bad line says which and goes on', async () => {
    const path = write('bad.csv', 'x,y\n1,2\n3\n4,five\n6,7\n');
    expect(await problems(path)).toEqual([
      'bad.csv line 3: 1 cells, the first line has 2',
      'bad.csv line 4: column `y` holds “five”, a number is expected',
    ]);
    expect((await entriesOf(path)).length).toBe(4);
  });

  it('with a quote left open is refused with the line where it opened', async () => {
    await expect(rows(write('open.csv', 'x,y\n1,2\n"3,4\n5,6\n'))).rejects.toThrow(/line 3: a quoted cell/);
  });

  it('in .gz is unpacked, and a damaged .gz is refused', async () => {
    const packed = gzipSync('x,y\n1,2\n');
    expect(await rows(write('a.csv.gz', packed))).toEqual([[1, 2]]);
    await expect(rows(write('cut.csv.gz', packed.subarray(0, -9)))).rejects.toMatchObject({
      code: 'SOURCE_INVALID',
    });
  });

  it('whose line never ends is refused in bounded memory', async () => {
    const bomb = gzipSync(Buffer.alloc(64 << 20, 'x'));
    await expect(rows(write('bomb.csv.gz', bomb))).rejects.toThrow(/line 1: longer than/);
  });
});

describe('JSON', () => {
  it('lines of features, with the known class', async () => {
    const path = write('a.jsonl', '{"x":1,"y":null,"label":"cat"}\n\n{"y":4,"x":3,"label":2}\n');
    expect((await openData(path)).columns).toEqual(['x', 'y']);
    const entries = (await entriesOf(path)) as Sample[];
    expect(entries.map(valuesOf)).toEqual([
      [1, Number.NaN],
      [3, 4],
    ]);
    expect(entries.map(({ truth }) => truth)).toEqual(['cat', '2']);
  });

  it('lines of arrays by input name, and of nested arrays', async () => {
    const [named] = (await entriesOf(write('n.jsonl', '{"ids":[[1,2]],"scale":3}'))) as Sample[];
    expect(named!.content).toEqual({
      kind: 'named',
      arrays: {
        ids: { shape: [1, 2], values: Float64Array.of(1, 2) },
        scale: { shape: [], values: Float64Array.of(3) },
      },
    });
    const [nested] = (await entriesOf(write('m.jsonl', '[[1,2],[3,4]]'))) as Sample[];
    expect(nested!.content).toMatchObject({ shape: [2, 2], values: Float64Array.of(1, 2, 3, 4) });
  });

  it('in one array is one sample of numbers, or several of arrays or objects', async () => {
    expect(await rows(write('a.json', '[1, 2]'))).toEqual([[1, 2]]);
    expect(await rows(write('b.json', '[[1, 2], [3, null]]'))).toEqual([
      [1, 2],
      [3, Number.NaN],
    ]);
    expect(await rows(write('c.json', '[{"a":1},{"a":2}]'))).toEqual([[1], [2]]);
  });

  it('with bad lines says which, what is there, and goes on', async () => {
    const text = '{"x":1}\n{"x":"two"}\n{"z":1}\nnonsense\n[[1],[2,3]]\n"text"\n{}\n{"x":9}\n';
    expect(await problems(write('bad.jsonl', text))).toEqual([
      'bad.jsonl line 2: `x` holds "two", a number is expected',
      'bad.jsonl line 3: `z` is not in the first sample, which names x',
      'bad.jsonl line 4: “nonsense” is not JSON',
      'bad.jsonl line 5: an array of 2 values among arrays of 1',
      'bad.jsonl line 6: an object or an array of numbers is expected',
      'bad.jsonl line 7: it names no values',
    ]);
  });
});

describe('raw and IDX files', () => {
  it('are samples on the first axis', async () => {
    const idx = Uint8Array.of(0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 2, 1, 2, 3, 4);
    expect(await rows(write('t-images-idx2-ubyte.gz', gzipSync(idx)))).toEqual([
      [1, 2],
      [3, 4],
    ]);
    const floats = Uint8Array.of(0, 0, 13, 1, 0, 0, 0, 1, 0x3f, 0xc0, 0, 0);
    expect(await rows(write('f.idx', floats))).toEqual([[1.5]]);
    expect(await rows(write('a.u8', Uint8Array.of(1, 2, 3, 4)), { width: 2 })).toEqual([
      [1, 2],
      [3, 4],
    ]);
  });

  it('cut short are refused', async () => {
    await expect(rows(write('a.idx', Uint8Array.of(0, 0, 8, 1, 0, 0, 0, 3, 1)))).rejects.toThrow(
      /sample 1 of 3/,
    );
    await expect(rows(write('b.u8', Uint8Array.of(1, 2, 3)), { width: 2 })).rejects.toThrow(
      /2 bytes, 1 are there/,
    );
    await expect(rows(write('c.idx', 'nonsense'))).rejects.toThrow(/not an IDX file/);
  });
});

describe('a directory of pictures', () => {
  const PNG = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 1, 2, 3);
  const JPEG = Uint8Array.of(0xff, 0xd8, 1, 2);

  it('takes classes from its sub-directories, in order of the names, and says what is no picture', async () => {
    write('pets/dog/b.jpg', JPEG);
    write('pets/cat/a.png', PNG);
    write('pets/cat/fake.png', 'GIF89a');
    write('pets/readme.txt', 'not looked at');
    const entries = await entriesOf(join(dir, 'pets'));
    expect(entries).toMatchObject([
      { where: 'cat/a.png', truth: 'cat', content: { picture: { format: 'png' } } },
      { where: 'cat/fake.png', problem: { message: expect.stringContaining('neither a JPEG nor a PNG') } },
      { where: 'dog/b.jpg', truth: 'dog', content: { picture: { format: 'jpeg' } } },
    ]);
  });

  it('takes classes from a file that names them', async () => {
    write('flat/1.png', PNG);
    write('flat/2.png', PNG);
    const truth = write('labels.csv', 'label,file\nred,2.png\nblue,1.png\n');
    const entries = (await entriesOf(join(dir, 'flat'), { truth })) as Sample[];
    expect(entries.map((entry) => entry.truth)).toEqual(['blue', 'red']);
  });

  it('without one is refused', async () => {
    mkdirSync(join(dir, 'none'), { recursive: true });
    await expect(rows(join(dir, 'none'))).rejects.toThrow(/no .jpg, .jpeg or .png/);
  });
});

describe('known classes', () => {
  it.each([
    ['t.txt', 'cat\ndog\n'],
    ['t.csv', 'label\ncat\ndog\n'],
  ])('come in order from %s', async (name, text) => {
    const path = write('two.csv', '1,2\n3,4\n');
    const entries = (await entriesOf(path, { truth: write(name, text) })) as Sample[];
    expect(entries.map(({ truth }) => truth)).toEqual(['cat', 'dog']);
  });

  it('come as numbers from IDX', async () => {
    const truth = write('t-labels-idx1-ubyte', Uint8Array.of(0, 0, 8, 1, 0, 0, 0, 2, 7, 9));
    const entries = (await entriesOf(write('two.csv', '1,2\n3,4\n'), { truth })) as Sample[];
    expect(entries.map((entry) => entry.truth)).toEqual(['7', '9']);
  });

  it('that are not as many as the samples are refused', async () => {
    const truth = write('three.txt', 'a\nb\nc\n');
    await expect(rows(write('two.csv', '1,2\n3,4\n'), { truth })).rejects.toThrow(/3 classes for 2 samples/);
  });
});

describe('an argument', () => {
  it('of plain numbers is one sample', async () => {
    expect(await rows('1,2.5,-3')).toEqual([[1, 2.5, -3]]);
  });

  it.each([
    ['nothing.csv', 'does not exist'],
    ['a.exe', 'not known'],
    ['e.csv', 'empty'],
  ])('%s is refused: %s', async (name, words) => {
    if (name !== 'nothing.csv') write(name, '');
    await expect(rows(join(dir, name))).rejects.toMatchObject({
      code: 'SOURCE_INVALID',
      message: expect.stringContaining(words),
    });
  });
});
