import { seededUniform } from '@skein/protocol/drift/bootstrap.ts';
import { describe, expect, it } from 'vitest';
import { apply, bytesOf, patchOf, tuned, twoLayers } from './pairs.ts';

const random = (length: number, seed: number): Uint8Array => {
  const uniform = seededUniform(seed);
  return Uint8Array.from({ length }, () => Math.floor(uniform() * 256));
};
const text = (length: number): Buffer =>
  Buffer.from(Array.from({ length }, (_, i) => `line ${i} of ${i * i}\n`).join(''));

async function sizeOf(old: Uint8Array, now: Uint8Array): Promise<number> {
  const patch = patchOf(old, now);
  expect(Buffer.compare(await apply(old, patch), now)).toBe(0);
  return patch.length;
}

describe('a patch', () => {
  it('of a model whose weights all moved a little is a part of the model', async () => {
    const first = tuned(64 * 32, 0.01, 1);
    const last = tuned(32 * 320, 0.01, 2);
    const [old, now] = [twoLayers(first.was, last.was), twoLayers(first.now, last.now)];
    expect(await sizeOf(old, now)).toBeLessThan(0.6 * now.length);
  });

  it('of a model whose last layer moved costs nothing for the first', async () => {
    const first = tuned(64 * 320, 0, 1).was;
    const last = tuned(32 * 32, 0.01, 2);
    const patch = await sizeOf(twoLayers(first, last.was), twoLayers(first, last.now));
    expect(patch).toBeLessThan(32 * 32 * 4 * 0.75);
  });

  it('of a file that is the same is a few bytes', async () => {
    const file = random(300_000, 3);
    expect(await sizeOf(file, file)).toBeLessThan(50);
  });

  it('of a model with another name, one tensor more and another shape finds what stayed', async () => {
    const { was, now } = tuned(64 * 320, 0.001, 1);
    const last = tuned(32 * 32, 0, 2).was;
    const old = twoLayers(was, last, 'one');
    const other = twoLayers(now, Float32Array.of(...last, ...last.subarray(0, 64)), 'quite another name');
    expect(await sizeOf(old, other)).toBeLessThan(0.6 * other.length);
  });

  it('of other files follows what was inserted, removed and moved about', async () => {
    const old = text(3000);
    const now = Buffer.concat([
      old.subarray(20_000, 40_000),
      Buffer.from('something new'),
      old.subarray(0, 15_000),
      old.subarray(41_000),
    ]);
    expect(await sizeOf(old, now)).toBeLessThan(150);
  });

  it('of numbers in a container that nobody knows finds their kind and where they begin', async () => {
    const { was, now } = tuned(8000, 0.001, 5);
    const file = (values: Float32Array) =>
      Buffer.concat([Buffer.from('abc: '), bytesOf(values), Buffer.from('end')]);
    expect(await sizeOf(file(was), file(now))).toBeLessThan(0.65 * 32_000);
  });

  it('of a model that was rounded to less precision leaves out what is 0 everywhere', async () => {
    const rounded = (values: Float32Array) =>
      new Float32Array(Uint32Array.from(new Uint32Array(values.buffer), (bits) => bits & 0xffff0000).buffer);
    const { was, now } = tuned(64 * 320, 0.05, 1);
    const last = tuned(32 * 32, 0.05, 2);
    const coarse = twoLayers(rounded(now), rounded(last.now));
    for (const before of [rounded(was), was])
      expect(await sizeOf(twoLayers(before, rounded(last.was)), coarse)).toBeLessThan(0.24 * coarse.length);
  });

  it('of files that have nothing in common is the new file and a header', async () => {
    expect(await sizeOf(random(5000, 1), random(9000, 2))).toBeLessThan(9000 + 40);
    expect(await sizeOf(new Uint8Array(0), random(100, 2))).toBeLessThan(140);
    expect(await sizeOf(random(100, 2), new Uint8Array(0))).toBeLessThan(40);
    expect(await sizeOf(new Uint8Array(0), new Uint8Array(0))).toBeLessThan(40);
  });

  it('comes back the same in whatever pieces it arrives', async () => {
    const { was, now } = tuned(40_000, 0.1, 6);
    const [old, fresh] = [bytesOf(was), bytesOf(now)];
    const patch = patchOf(old, fresh);
    for (const piece of [1, 7, 100_000])
      expect(Buffer.compare(await apply(old, patch, {}, piece), fresh)).toBe(0);
  });

  it('brings back any pair of files', async () => {
    for (let seed = 1; seed <= 60; seed++) {
      const uniform = seededUniform(seed);
      const below = (limit: number) => Math.floor(uniform() * limit);
      const old = random(below(3000), seed);
      const parts = Array.from({ length: below(8) }, () => {
        const from = below(old.length);
        const part = old.slice(from, from + below(600));
        return uniform() < 0.5
          ? part
          : uniform() < 0.5
            ? part.map((byte) => byte + below(3))
            : random(below(90), below(99));
      });
      const now = Buffer.concat(parts);
      expect(Buffer.compare(await apply(old, patchOf(old, now)), now), `seed ${seed}`).toBe(0);
    }
  });
});
