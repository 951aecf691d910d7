import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { deflateSync } from 'node:zlib';
import { decodePicture } from '@skein/agent/pipeline/image-decode.ts';
import { preparedPixels } from '@skein/agent/pipeline/pictures.ts';
import { workerPictures } from '@skein/agent/pipeline/worker-pictures.ts';
import type { Picture } from '@skein/agent/sources/port.ts';
import type { ImagePreprocess } from '@skein/protocol/manifest-pipeline.ts';
import { afterEach, describe, expect, it } from 'vitest';
import { pngOf, syntheticPicture } from './picture-files.ts';

const preprocess: ImagePreprocess = {
  kind: 'image',
  width: 96,
  height: 96,
  resize: { mode: 'fit', filter: 'bilinear' },
  colour: 'RGB',
  normalise: { scale: 1 / 255, mean: [0.5], std: [0.5] },
  type: 'float32',
  layout: 'NCHW',
};

/** Rows without a filter. */
function png(width: number, height: number): Picture {
  const { data } = syntheticPicture(width, height);
  const rows = Buffer.alloc((width * 3 + 1) * height);
  for (let y = 0; y < height; y++)
    rows.set(data.subarray(y * width * 3, (y + 1) * width * 3), y * (width * 3 + 1) + 1);
  return { format: 'png', bytes: pngOf({ width, height, rows: deflateSync(rows) }) };
}

const opened: { close(): Promise<void> }[] = [];
const pictures = (options?: Parameters<typeof workerPictures>[0]) => {
  const made = workerPictures(options);
  opened.push(made);
  return made;
};
afterEach(async () => {
  await Promise.all(opened.splice(0).map((each) => each.close()));
});

describe('pictures decoded beside the event loop', () => {
  it('are the same to the last bit as decoded here', async () => {
    const picture = png(320, 200);
    const expected = preparedPixels(preprocess, await decodePicture(picture));
    expect(await pictures().prepare(picture, preprocess)).toEqual(expected);
    expect(picture.bytes.length).toBeGreaterThan(0);
  });

  it('of icon size are the same as well', async () => {
    const small = { ...preprocess, width: 32, height: 32 };
    const picture = png(40, 20);
    const expected = preparedPixels(small, await decodePicture(picture));
    expect(await pictures().prepare(picture, small)).toEqual(expected);
  });

  it('take only their own bytes along, not the buffer around them', async () => {
    const { format, bytes } = png(320, 200) as Extract<Picture, { format: 'png' | 'jpeg' }>;
    const around = new Uint8Array(bytes.length + 200).fill(9);
    around.set(bytes, 100);
    const picture: Picture = { format, bytes: around.subarray(100, 100 + bytes.length) };
    const made = await pictures().prepare(picture, preprocess);
    expect(made.data.length).toBe(3 * 96 * 96);
    expect(around[0]).toBe(9);
  });

  it('come back in the order they went', async () => {
    const decoder = pictures();
    const order: number[] = [];
    await Promise.all(
      [300, 100, 200].map((side) =>
        decoder.prepare(png(side, side), preprocess).then(({ place }) => order.push(place.sourceWidth)),
      ),
    );
    expect(order).toEqual([300, 100, 200]);
  });

  it('say what is wrong with one and go on with the next', async () => {
    const decoder = pictures();
    const whole = png(300, 300);
    const broken = { ...whole, bytes: whole.bytes.slice(0, 500) } as Picture;
    const [bad, good] = await Promise.allSettled([
      decoder.prepare(broken, preprocess),
      decoder.prepare(whole, preprocess),
    ]);
    expect(bad).toMatchObject({ status: 'rejected', reason: { code: 'IMAGE_INVALID' } });
    expect(good).toMatchObject({ status: 'fulfilled' });
  });

  it('wait only so many at a time; the rest is refused at once', async () => {
    const decoder = pictures({ queueLimit: 2 });
    const picture = png(300, 300);
    const outcomes = await Promise.allSettled(
      Array.from({ length: 5 }, () => decoder.prepare(picture, preprocess)),
    );
    expect(outcomes.map((each) => (each.status === 'fulfilled' ? 'made' : each.reason.code))).toEqual([
      ...['made', 'made', 'made', 'OVERLOADED', 'OVERLOADED'],
    ]);
  });

  it('that take too long end the thread, and the next starts another', async () => {
    const decoder = pictures({ timeoutMs: 1 });
    const large = png(1500, 1500);
    await expect(decoder.prepare(large, preprocess)).rejects.toMatchObject({
      code: 'IMAGE_INVALID',
      message: expect.stringContaining('longer than 1 ms'),
    });
    const patient = pictures();
    expect((await patient.prepare(large, preprocess)).data.length).toBe(3 * 96 * 96);
  });

  it('under way when it is closed are refused, and closing twice is one', async () => {
    const decoder = pictures();
    const waiting = decoder.prepare(png(1000, 1000), preprocess);
    const refused = expect(waiting).rejects.toMatchObject({ code: 'OVERLOADED' });
    await decoder.close();
    await refused;
    await decoder.close();
  });
});

describe('the golden pictures', () => {
  it('pass through the thread as through the decoder', async () => {
    const path = join(import.meta.dirname, '../../golden/pictures.json');
    const { files } = JSON.parse(readFileSync(path, 'utf8')) as { files: { name: string; bytes: string }[] };
    const decoder = pictures({ inlinePixels: 0, queueLimit: 100 });
    for (const { name, bytes } of files) {
      const format = name.endsWith('.png') ? 'png' : 'jpeg';
      const picture: Picture = { format, bytes: new Uint8Array(Buffer.from(bytes, 'base64')) };
      const expected = preparedPixels(preprocess, await decodePicture(picture));
      expect(await decoder.prepare(picture, preprocess), name).toEqual(expected);
    }
  });
});
