/** Damaged and hostile data files: every one is read or refused with a SkeinError, in bounded memory. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { crc32, deflateRawSync, gzipSync } from 'node:zlib';
import { openData } from '@skein/agent/model/data/disk-data.ts';
import { seededUniform } from '@skein/protocol/drift/bootstrap.ts';
import { SkeinError } from '@skein/protocol/errors.ts';
import { afterAll, describe, expect, it } from 'vitest';

const dir = mkdtempSync(join(tmpdir(), 'skein-fuzz-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));
const NUMPY = fileURLToPath(new URL('../../../golden/npy/', import.meta.url));
const SEED = Number(process.env.SKEIN_SEED ?? 23);

/** Values read; an error that is no SkeinError is thrown on. */
async function readOrRefuse(path: string): Promise<number | SkeinError> {
  try {
    let values = 0;
    const data = await openData(path, { width: 3 });
    for await (const entry of data.samples()) {
      if ('content' in entry && entry.content.kind === 'values') values += entry.content.values.length;
    }
    return values;
  } catch (error) {
    if (error instanceof SkeinError && error.code !== 'INTERNAL') return error;
    throw error;
  }
}

const text = (t: string) => new TextEncoder().encode(t);
const EXAMPLES: [string, Uint8Array][] = [
  ...readdirSync(NUMPY).map((name): [string, Uint8Array] => [
    name,
    new Uint8Array(readFileSync(NUMPY + name)),
  ]),
  ['a.csv', text('x,"y, z",label\n1,"2",cat\n3,"4\n",dog\n')],
  ['a.jsonl', text('{"x":1,"y":[1,2]}\n[[1,2],[3,4]]\n')],
  ['a.json', text('[[1,2],[3,4]]')],
  ['a.dat', text('1;10.0 1:2.5 2:3\n2;5 1:1 2:2\n')],
  ['a.idx', Uint8Array.of(0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 2, 1, 2, 3, 4)],
  ['a.u8', Uint8Array.of(1, 2, 3, 4, 5, 6)],
  ['a.csv.gz', new Uint8Array(gzipSync('x,y\n1,2\n'))],
];

describe(`data files with bytes changed, cut and repeated (SKEIN_SEED=${SEED})`, () => {
  it.each(EXAMPLES)(
    '%s is read or refused, and nothing else happens',
    async (name, original) => {
      const uniform = seededUniform(SEED);
      const below = (n: number) => Math.floor(uniform() * n);
      const path = join(dir, name);
      for (let round = 0; round < 60; round++) {
        let bytes = original.slice();
        for (let changes = below(4); changes >= 0; changes--) bytes[below(bytes.length)] = below(256);
        if (round % 3 === 1) bytes = bytes.subarray(0, below(bytes.length));
        if (round % 3 === 2) bytes = new Uint8Array([...bytes, ...bytes.subarray(below(bytes.length))]);
        writeFileSync(path, bytes);
        const outcome = await readOrRefuse(path).catch((error) => error);
        const fine = typeof outcome === 'number' || outcome instanceof SkeinError;
        if (!fine) expect.fail(`seed ${SEED}, round ${round}: ${outcome?.stack}`);
      }
    },
    60_000,
  );
});

interface Entry {
  name: string;
  data: Uint8Array;
  method?: number;
  /** What the directory says instead of the truth. */
  lie?: { size?: number; packed?: number; crc?: number; offset?: number };
}

/** A .zip as an attacker writes it. */
function zip(entries: Entry[]): Uint8Array {
  const parts: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const { name, data, method = 8, lie = {} } of entries) {
    const packed = method === 8 ? deflateRawSync(data) : Buffer.from(data);
    const local = Buffer.alloc(30);
    local.writeUInt32LE(0x04034b50, 0);
    local.writeUInt16LE(name.length, 26);
    const central = Buffer.alloc(46);
    central.writeUInt32LE(0x02014b50, 0);
    central.writeUInt16LE(method, 10);
    central.writeUInt32LE(lie.crc ?? crc32(data), 16);
    central.writeUInt32LE(lie.packed ?? packed.length, 20);
    central.writeUInt32LE(lie.size ?? data.length, 24);
    central.writeUInt16LE(name.length, 28);
    central.writeUInt32LE(lie.offset ?? offset, 42);
    parts.push(local, Buffer.from(name), packed);
    directory.push(central, Buffer.from(name));
    offset += 30 + name.length + packed.length;
  }
  const index = Buffer.concat(directory);
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(entries.length, 10);
  end.writeUInt32LE(index.length, 12);
  end.writeUInt32LE(offset, 16);
  return new Uint8Array(Buffer.concat([...parts, index, end]));
}

describe('a hostile .npz', () => {
  const good = new Uint8Array(readFileSync(`${NUMPY}f4-le.npy`));
  const read = (bytes: Uint8Array) => {
    writeFileSync(join(dir, 'x.npz'), bytes);
    return readOrRefuse(join(dir, 'x.npz'));
  };
  const npy = (shape: string, data: Uint8Array) => {
    const header = `${`{'descr': '|u1', 'fortran_order': False, 'shape': ${shape}, }`.padEnd(117)}\n`;
    return Buffer.concat([Buffer.of(0x93, 78, 85, 77, 80, 89, 1, 0, 118, 0), Buffer.from(header), data]);
  };

  it('names are only names: nothing is written anywhere', async () => {
    await expect(read(zip([{ name: '../../evil.npy', data: good }]))).resolves.toBe(0);
  });

  it.each([
    [
      'two entries of one name',
      [
        { name: 'a.npy', data: good },
        { name: 'a.npy', data: good },
      ],
      /same name/,
    ],
    [
      'a size that is too small',
      [{ name: 'a.npy', data: good, lie: { size: 10 } }],
      /more than the 10 bytes/,
    ],
    [
      'a size that is too large',
      [{ name: 'a.npy', data: good, lie: { size: 1000 } }],
      /its directory names 1000/,
    ],
    ['a wrong checksum', [{ name: 'a.npy', data: good, lie: { crc: 1 } }], /checksum/],
    ['an entry beyond the end', [{ name: 'a.npy', data: good, lie: { offset: 1e6 } }], /beyond the end/],
    ['a method nobody knows', [{ name: 'a.npy', data: good, method: 99 }], /method 99/],
    ['an offset into nothing', [{ name: 'a.npy', data: good, lie: { offset: 3 } }], /local header/],
    ['no arrays', [{ name: 'a.txt', data: good }], /holds no .npy/],
  ] as [string, Entry[], RegExp][])('with %s is refused', async (_what, entries, words) => {
    expect(String(await read(zip(entries)))).toMatch(words);
  });

  it('that unpacks to a thousand times its size is read in the memory of one sample', async () => {
    const side = 1 << 16;
    const bomb = zip([{ name: 'x.npy', data: npy(`(1024, ${side})`, new Uint8Array(1024 * side)) }]);
    expect(bomb.length).toBeLessThan(100_000);
    const before = process.memoryUsage().rss;
    writeFileSync(join(dir, 'bomb.npz'), bomb);
    const data = await openData(join(dir, 'bomb.npz'));
    let most = 0;
    let samples = 0;
    for await (const _ of data.samples()) {
      if (samples++ % 64 === 0) most = Math.max(most, process.memoryUsage().rss);
    }
    expect(samples).toBe(1024);
    expect(most - before).toBeLessThan(48 << 20);
  });
});
