import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { deflateSync } from 'node:zlib';
import { decodePicture } from '@skein/agent/pipeline/image-decode.ts';
import { PICTURE_LIMITS, type Pixels } from '@skein/agent/pipeline/pixels.ts';
import { resample } from '@skein/agent/pipeline/resample.ts';
import type { Picture } from '@skein/agent/sources/port.ts';
import { describe, expect, it } from 'vitest';
import { pngOf, syntheticPicture } from './picture-files.ts';

interface Golden {
  resize: {
    from: [number, number];
    to: [number, number];
    filter: 'nearest' | 'bilinear' | 'area';
    rgb: string;
  }[];
  files: { name: string; size: [number, number]; bytes: string; rgb: string }[];
  refused: { name: string; bytes: string; says: string }[];
}
const golden = JSON.parse(
  readFileSync(join(import.meta.dirname, '../../golden/pictures.json'), 'utf8'),
) as Golden;
const bytesOf = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'base64'));
const formatOf = (name: string): 'jpeg' | 'png' => (name.endsWith('.png') ? 'png' : 'jpeg');
const worst = (a: Uint8Array, b: Uint8Array): number =>
  a.length === b.length ? a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i]!)), 0) : 256;

describe('resizing', () => {
  it.each(golden.resize)(
    'from $from to $to with $filter gives Pillow’s own bytes',
    ({ from, to, filter, rgb }) => {
      const pixels = syntheticPicture(...from);
      const axis = (source: number, size: number) => ({ from: source, to: size, start: 0, length: size });
      const made = resample(pixels, axis(from[0], to[0]), axis(from[1], to[1]), filter);
      expect(worst(made, bytesOf(rgb))).toBe(0);
    },
  );

  it.each(['nearest', 'bilinear', 'area'] as const)(
    'of a window with %s gives that part of the whole',
    (filter) => {
      const pixels = syntheticPicture(41, 29);
      const whole = resample(
        pixels,
        { from: 41, to: 20, start: 0, length: 20 },
        { from: 29, to: 15, start: 0, length: 15 },
        filter,
      );
      const part = resample(
        pixels,
        { from: 41, to: 20, start: 7, length: 6 },
        { from: 29, to: 15, start: 4, length: 9 },
        filter,
      );
      for (let y = 0; y < 9; y++) {
        const row = whole.subarray(((y + 4) * 20 + 7) * 3, ((y + 4) * 20 + 13) * 3);
        expect([...part.subarray(y * 18, (y + 1) * 18)]).toEqual([...row]);
      }
    },
  );
});

describe('decoding', () => {
  it.each(golden.files)('$name gives Pillow’s own pixels', async ({ name, size, bytes, rgb }) => {
    const pixels = await decodePicture({ format: formatOf(name), bytes: bytesOf(bytes) });
    expect([pixels.width, pixels.height]).toEqual(size);
    expect(worst(pixels.data, bytesOf(rgb))).toBe(0);
  });

  it.each(golden.refused)('refuses $name, saying $says', async ({ name, bytes, says }) => {
    await expect(decodePicture({ format: formatOf(name), bytes: bytesOf(bytes) })).rejects.toMatchObject({
      code: 'IMAGE_INVALID',
      message: expect.stringContaining(says),
    });
  });

  const raw = (format: 'gray8' | 'rgb24' | 'rgba32' | 'i420', bytes: number[], width = 2, height = 1) =>
    decodePicture({ format, width, height, bytes: Uint8Array.from(bytes) });

  it('takes raw frames as they are', async () => {
    expect([...(await raw('gray8', [1, 2])).data]).toEqual([1, 1, 1, 2, 2, 2]);
    expect([...(await raw('rgb24', [1, 2, 3, 4, 5, 6])).data]).toEqual([1, 2, 3, 4, 5, 6]);
    expect([...(await raw('rgba32', [1, 2, 3, 9, 4, 5, 6, 9])).data]).toEqual([1, 2, 3, 4, 5, 6]);
  });

  it('turns studio-range YUV into RGB, odd sizes too', async () => {
    const white = await raw('i420', [235, 235, 235, 128, 128, 128, 128], 3, 1);
    expect([...white.data]).toEqual(new Array(9).fill(255));
    const black = await raw('i420', [16, 16, 16, 128, 128, 128, 128], 3, 1);
    expect([...black.data]).toEqual(new Array(9).fill(0));
    const red = await raw('i420', [81, 90, 240], 1, 1);
    expect([...red.data].map((value, i) => Math.abs(value - [255, 0, 0][i]!) <= 1)).toEqual([
      true,
      true,
      true,
    ]);
  });

  it('refuses a raw frame of another size than it says', async () => {
    await expect(raw('rgb24', [1, 2, 3])).rejects.toMatchObject({
      code: 'IMAGE_INVALID',
      message: 'a rgb24 frame of 2 × 1 has 6 bytes, not 3',
    });
  });
});

/** A JPEG header of `width` × `height` and nothing behind it. */
const jpegSaying = (width: number, height: number): Uint8Array =>
  Uint8Array.of(
    ...[0xff, 0xd8, 0xff, 0xc0, 0, 17, 8, height >> 8, height & 255, width >> 8, width & 255],
    ...[3, 1, 0x22, 0, 2, 0x11, 1, 3, 0x11, 1, 0xff, 0xd9],
  );

const file = (name: string): Uint8Array => bytesOf(golden.files.find((each) => each.name === name)!.bytes);
const refusal = (picture: Picture, limits = PICTURE_LIMITS) =>
  decodePicture(picture, limits).then(
    () => 'taken',
    ({ code, message }) => `${code}: ${message}`,
  );

describe('a picture that would do harm', () => {
  it('is refused from its header when it claims too many pixels', async () => {
    const png = pngOf({ width: 50_000, height: 50_000, rows: deflateSync(new Uint8Array(1000)) });
    expect(await refusal({ format: 'png', bytes: png })).toMatch(
      /^IMAGE_TOO_LARGE: the picture is 50000 × 50000/,
    );
    const jpeg = jpegSaying(65_500, 65_500);
    expect(await refusal({ format: 'jpeg', bytes: jpeg })).toMatch(
      /^IMAGE_TOO_LARGE: the picture is 65500 × 65500/,
    );
    const bytes = new Uint8Array(8);
    expect(await refusal({ format: 'gray8', width: 1e9, height: 1e9, bytes })).toMatch(/^IMAGE_TOO_LARGE/);
    expect(await refusal({ format: 'rgb24', width: Number.NaN, height: 2, bytes })).toMatch(/^IMAGE_INVALID/);
  });

  it('is refused by its bytes before anything is read', async () => {
    const picture: Picture = { format: 'jpeg', bytes: new Uint8Array(101) };
    expect(await refusal(picture, { pixels: 100, bytes: 100 })).toMatch(/^IMAGE_TOO_LARGE: .*101 bytes/);
  });

  it('inflates not a byte more than its header promises', async () => {
    const bomb = pngOf({ width: 4, height: 4, rows: deflateSync(new Uint8Array(50_000_000)) });
    expect(await refusal({ format: 'png', bytes: bomb })).toBe(
      'IMAGE_INVALID: the PNG holds more than its size says',
    );
  });

  it('is refused when it is progressive without end', async () => {
    const whole = file('progressive.jpg');
    const scan = Uint8Array.of(0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0);
    const end = whole.subarray(whole.length - 2);
    const bomb = Buffer.concat([whole.subarray(0, -2), ...new Array(10_000).fill(scan), end]);
    expect(await refusal({ format: 'jpeg', bytes: bomb })).toBe(
      'IMAGE_INVALID: the JPEG has more than 100 scans',
    );
  });

  it.each(['rgb.png', 'interlaced.png', 'palette4.png', 'q90s0.jpg', 'progressive.jpg', 'gray.jpg'])(
    'is told as damaged wherever %s is cut off',
    async (name) => {
      const whole = file(name);
      for (let length = 0; length < whole.length - 2; length += 7) {
        const said = await refusal({ format: formatOf(name), bytes: whole.slice(0, length) });
        expect(said, `${length} bytes`).toMatch(/^IMAGE_INVALID/);
      }
    },
  );

  it('is told from one of another kind', async () => {
    const text = new TextEncoder().encode('<html>not found</html>');
    expect(await refusal({ format: 'jpeg', bytes: text })).toMatch(/not a JPEG/);
    expect(await refusal({ format: 'png', bytes: text })).toMatch(/not a PNG/);
    expect(await refusal({ format: 'png', bytes: file('q90s0.jpg') })).toMatch(/not a PNG/);
  });

  it('leaves the decoder whole for the next one', async () => {
    await refusal({ format: 'jpeg', bytes: file('q90s0.jpg').slice(0, 400) });
    const { rgb } = golden.files.find(({ name }) => name === 'q90s0.jpg')!;
    const { data } = await decodePicture({ format: 'jpeg', bytes: file('q90s0.jpg') });
    expect(worst(data, bytesOf(rgb))).toBe(0);
  });
});

/** mulberry32 */
const chance = (seed: number) => () => {
  seed = (seed + 0x6d2b79f5) | 0;
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
};

describe('whatever bytes come', () => {
  it.each([1, 2, 3, 4])('decoding gives pixels of its size or a SkeinError (seed %i)', async (seed) => {
    const next = chance(seed);
    for (let round = 0; round < 250; round++) {
      const { name, bytes } = golden.files[Math.floor(next() * golden.files.length)]!;
      const spoiled = bytesOf(bytes);
      for (let n = 1 + Math.floor(next() * 6); n > 0; n--) {
        spoiled[Math.floor(next() * spoiled.length)] = Math.floor(next() * 256);
      }
      const limits = { pixels: 2 ** 20, bytes: 2 ** 20 };
      const picture: Picture = { format: formatOf(name), bytes: spoiled };
      const made: Pixels | string = await decodePicture(picture, limits).catch(({ code }) => String(code));
      if (typeof made === 'string') expect(made, `seed ${seed} round ${round}`).toMatch(/^IMAGE_/);
      else expect(made.data.length, `seed ${seed} round ${round}`).toBe(made.width * made.height * 3);
    }
  });
});
