import { deflateRawSync, inflateRawSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { deflater, inflater } from '../../agent/src/node-deflate.ts';
import { below, seeded } from '../protocol/batch/random.ts';

const OPTIONS = { level: 3, windowBits: 13, memLevel: 7, chunkSize: 4096 };
const SEED = Math.floor(Math.random() * 2 ** 30);

describe(`deflate on a context that is kept (seed ${SEED})`, () => {
  const random = seeded(SEED);
  const text = (): Buffer => {
    const line = Buffer.from(Array.from({ length: below(random, 80) }, () => below(random, 256)));
    return Buffer.concat(Array.from({ length: below(random, 400) }, () => line));
  };

  it('gives the bytes that a context of its own would, and none of them change with the next call', () => {
    const [deflate, inflate] = [deflater(OPTIONS), inflater({})];
    const given = Array.from({ length: 300 }, () => {
      const plain = text();
      return { plain, packed: deflate(plain) };
    });
    for (const { plain, packed } of given) {
      expect(packed.equals(deflateRawSync(plain, OPTIONS))).toBe(true);
      expect(inflateRawSync(packed).equals(plain)).toBe(true);
    }
    const back = given.map(({ packed }) => inflate(packed));
    given.forEach(({ plain }, i) => {
      expect(back[i]!.equals(plain)).toBe(true);
    });
  });

  it('throws at what is no deflate and at what ends too early, and goes on', () => {
    const [packed, inflate] = [deflateRawSync(Buffer.from('as it was'.repeat(99))), inflater({})];
    for (let i = 0; i < 20; i++) {
      expect(() => inflate(Buffer.from([0xff, 0xff, i]))).toThrow(/invalid/);
      expect(() => inflate(packed.subarray(0, -1))).toThrow(/unexpected end/);
      expect(inflate(packed).toString()).toBe('as it was'.repeat(99));
    }
  });
});
