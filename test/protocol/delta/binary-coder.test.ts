import { adaptiveBits, BinaryCoder, type Frame } from '@skein/protocol/delta/binary-coder.ts';
import { seededUniform } from '@skein/protocol/drift/bootstrap.ts';
import { describe, expect, it } from 'vitest';

const CELLS = 4;

/** `bits[i]` in the cell i mod {@link CELLS}; each fifth is a number of nine bits beside the coded ones. */
function write(bits: readonly number[]): Frame {
  const coder = new BinaryCoder(true, 16);
  const cells = adaptiveBits(CELLS);
  bits.forEach((bit, i) => {
    if (i % 5 === 4) coder.raw(9, bit * 300);
    else coder.bit(cells, i % CELLS, bit);
  });
  return coder.close();
}

/** @throws SkeinError PATCH_INVALID */
function read(frame: Frame, count: number): number[] {
  const coder = new BinaryCoder(false);
  const cells = adaptiveBits(CELLS);
  coder.open(frame);
  const bits = Array.from({ length: count }, (_, i) =>
    i % 5 === 4 ? coder.raw(9, 0) / 300 : coder.bit(cells, i % CELLS, 0),
  );
  coder.checkEnd();
  return bits;
}

const random = (seed: number, count: number): number[] => {
  const uniform = seededUniform(seed);
  const ones = uniform() ** 3;
  return Array.from({ length: count }, () => (uniform() < ones ? 1 : 0));
};

const flipped = (bytes: Uint8Array, at: number, bit: number): Uint8Array =>
  bytes.map((byte, i) => (i === at ? byte ^ (1 << bit) : byte));

const refused = expect.objectContaining({ code: 'PATCH_INVALID' });

describe('a frame of coded bits', () => {
  it('is read to its very end, whatever bits it carries and however few', () => {
    for (let seed = 1; seed <= 2000; seed++) {
      const bits = random(seed, seed % 150);
      expect(read(write(bits), bits.length), `seed ${seed}`).toEqual(bits);
    }
  });

  it('has no bit without meaning: with any of them changed it carries something else or is refused', () => {
    for (let seed = 1; seed <= 40; seed++) {
      const bits = random(seed, 100);
      const frame = write(bits);
      for (const part of ['coded', 'raw'] as const) {
        for (let at = 0; at < frame[part].length * 8; at++) {
          const changed = { ...frame, [part]: flipped(frame[part], at >> 3, at & 7) };
          expect(sameBits(changed, bits), `seed ${seed}, ${part}, bit ${at}`).toBe(false);
        }
      }
    }
  });

  it('is refused with bytes beyond what is read, or fewer', () => {
    const bits = random(3, 100);
    const { coded, raw } = write(bits);
    for (const tail of [0, 1, 255]) {
      expect(() => read({ coded: Uint8Array.of(...coded, tail), raw }, 100)).toThrow(refused);
      expect(() => read({ coded, raw: Uint8Array.of(...raw, tail) }, 100)).toThrow(refused);
    }
    expect(() => read({ coded, raw: raw.subarray(0, -1) }, 100)).toThrow(refused);
    expect(sameBits({ coded: coded.subarray(0, -1), raw }, bits)).toBe(false);
  });
});

/** Whether it is taken, and carries just these. */
function sameBits(frame: Frame, bits: readonly number[]): boolean {
  try {
    return read(frame, bits.length).every((bit, i) => bit === bits[i]);
  } catch (error) {
    expect(error).toEqual(refused);
    return false;
  }
}
