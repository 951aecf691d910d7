import { BinaryCoder } from '@skein/protocol/delta/binary-coder.ts';
import {
  BYTES,
  KIND,
  type Kind,
  numberOf,
  orderedNear,
  readOrdered,
  writeOrdered,
} from '@skein/protocol/delta/elements.ts';
import { ValueModel } from '@skein/protocol/delta/value-model.ts';
import { describe, expect, it } from 'vitest';
import { below, seeded } from '../batch/random.ts';
import { bytesOf, tuned } from './pairs.ts';

const kinds = Object.entries(KIND) as [string, Kind][];

const ordered = (kind: Kind, bytes: Uint8Array): Int32Array => {
  const values = new Int32Array(bytes.length / BYTES[kind]!);
  readOrdered(kind, bytes, values, values.length);
  return values;
};

/** Through the coder and back. */
function roundTrip(kind: Kind, was: Int32Array, now: Int32Array, width: number) {
  const writer = new BinaryCoder(true);
  const write = new ValueModel(writer, kind);
  write.begin(width);
  write.run(was, now.slice(), now.length);
  const frame = writer.close();
  const reader = new BinaryCoder(false);
  reader.open(frame);
  const read = new ValueModel(reader, kind);
  read.begin(width);
  const found = new Int32Array(now.length);
  read.run(was, found, now.length);
  reader.checkEnd();
  return { found, bytes: frame.coded.length + frame.raw.length };
}

describe('values coded against those before', () => {
  it.each(kinds)('%s: any bits whatever come back, near or far, in rows of any width', (_, kind) => {
    for (let seed = 1; seed <= 20; seed++) {
      const random = seeded(seed);
      const bytes = () => Uint8Array.from({ length: 400 * BYTES[kind]! }, () => below(random, 256));
      const was = ordered(kind, bytes());
      const far = ordered(kind, bytes());
      const now = was.map((value, i) => (random() < 0.5 ? value : far[i]!));
      const width = 1 + below(random, 40);
      expect(roundTrip(kind, was, now, width).found, `seed ${seed}, width ${width}`).toEqual(now);
    }
  });

  it.each(kinds)('%s: every bit pattern has a place of its own and comes back from it', (_, kind) => {
    const count = BYTES[kind] === 1 ? 256 : 65_536;
    const bytes = new Uint8Array(count * BYTES[kind]!);
    for (let i = 0; i < count; i++)
      bytes.set([i, i >> 8, i, i >> 8].slice(0, BYTES[kind]!), i * BYTES[kind]!);
    const back = new Uint8Array(bytes.length);
    const values = ordered(kind, bytes);
    writeOrdered(kind, values, back, count);
    expect(Buffer.compare(back, bytes)).toBe(0);
    expect(new Set(values).size).toBe(count);
  });

  it('keeps the order of numbers across zero, and finds a number where it is', () => {
    const numbers = Float32Array.of(-3e38, -1, -1e-40, -0, 0, 1e-45, 0.1, 7, 3e38);
    const values = ordered(KIND.f32, bytesOf(numbers));
    expect([...values].sort((a, b) => a - b)).toEqual([...values]);
    for (const number of [-1.5, -(2 ** -20), 0.333251953125, 65504]) {
      const half = orderedNear(KIND.f16, number);
      expect(numberOf(KIND.f16, half)).toBeCloseTo(number, 3);
      expect(numberOf(KIND.f32, orderedNear(KIND.f32, number))).toBe(number);
    }
  });

  it('costs little more than the entropy of the move', () => {
    const { was, now } = tuned(50_000, 0.001, 7);
    const { bytes } = roundTrip(
      KIND.f32,
      ordered(KIND.f32, bytesOf(was)),
      ordered(KIND.f32, bytesOf(now)),
      1,
    );
    // log2 of the moves' deviation in steps of each value, and 2.05 bits for the shape of a normal distribution.
    let entropy = 0;
    for (const value of was)
      entropy += Math.log2((0.05 * 0.001) / 2 ** (Math.floor(Math.log2(Math.abs(value))) - 23)) + 2.05;
    expect((bytes * 8) / entropy).toBeLessThan(1.015);
  });

  it('learns a decay of all values and a row that moves as the one above', () => {
    const { was } = tuned(20_000, 0, 3);
    const decayed = was.map((value) => value * 0.999);
    const row = tuned(100, 1, 4).now;
    const moved = was.map((value, i) => value + row[i % 100]! * 0.01);
    const size = (now: Float32Array, width: number) =>
      roundTrip(KIND.f32, ordered(KIND.f32, bytesOf(was)), ordered(KIND.f32, bytesOf(now)), width).bytes;
    const noise = size(tuned(20_000, 0.01, 3).now, 100);
    expect(size(decayed, 100)).toBeLessThan(noise * 0.4);
    expect(size(moved, 100)).toBeLessThan(noise * 0.5);
  });

  it('is refused when it goes on behind the end of what there is', () => {
    const reader = new BinaryCoder(false);
    reader.open({ coded: Uint8Array.of(0x7f, 0xff, 0xff, 0xfe, 0xff), raw: new Uint8Array(0) });
    const model = new ValueModel(reader, KIND.f32);
    model.begin(1);
    const run = () => model.run(new Int32Array(5000), new Int32Array(5000), 5000);
    expect(run).toThrow(expect.objectContaining({ code: 'PATCH_INVALID' }));
  });
});
