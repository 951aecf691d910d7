/**
 * What pictures cost: decoding against the raw codec where there is one (zlib for PNG), preparing, and the way through the
 * worker against doing it here, which is what `inlinePixels` rests on. Beside it the event loop's lag with a camera of
 * 1280 × 720 at 30 frames a second: decoded beside the loop and, for comparison, on it; its limit is the lag beside a
 * thread that only keeps a core busy. Medians, in turns.
 */
import { performance } from 'node:perf_hooks';
import { setTimeout as after, setImmediate as turn } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { crc32, deflateSync, inflateSync } from 'node:zlib';
import { decodePicture } from '@skein/agent/pipeline/image-decode.ts';
import { type Pictures, preparedPixels } from '@skein/agent/pipeline/pictures.ts';
import { workerPictures } from '@skein/agent/pipeline/worker-pictures.ts';
import type { Picture } from '@skein/agent/sources/port.ts';
import type { ImagePreprocess } from '@skein/protocol/manifest-pipeline.ts';
import { median } from '../timing.ts';
import type { Emit } from './measurement.ts';

const FRAME_MS = 1000 / 30;

const wanted = (side: number): ImagePreprocess => ({
  ...{ kind: 'image', width: side, height: side, colour: 'RGB', type: 'float32', layout: 'NCHW' },
  resize: { mode: 'fit', filter: 'bilinear' },
  normalise: { scale: 1 / 255, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] },
});

function rowsOf(width: number, height: number): Buffer {
  const rows = Buffer.alloc((width * 3 + 1) * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width * 3; x++)
      rows[y * (width * 3 + 1) + x + 1] = 128 + 90 * Math.sin(x / 31 + y / 17);
  }
  return rows;
}

function chunk(type: string, data: Uint8Array): Buffer {
  const body = Buffer.concat([Buffer.from(type), data]);
  const [size, sum] = [Buffer.alloc(4), Buffer.alloc(4)];
  size.writeUInt32BE(data.length);
  sum.writeUInt32BE(crc32(body));
  return Buffer.concat([size, body, sum]);
}

function pngOf(width: number, height: number): { picture: Picture; compressed: Buffer } {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width);
  header.writeUInt32BE(height, 4);
  header.set([8, 2, 0, 0, 0], 8);
  const compressed = deflateSync(rowsOf(width, height));
  const signature = Buffer.from('89504e470d0a1a0a', 'hex');
  const parts = [signature, chunk('IHDR', header), chunk('IDAT', compressed), chunk('IEND', Buffer.alloc(0))];
  return { picture: { format: 'png', bytes: new Uint8Array(Buffer.concat(parts)) }, compressed };
}

const rawOf = (width: number, height: number): Picture => {
  const bytes = new Uint8Array(width * height * 3).map((_, i) => (i * 7) & 255);
  return { format: 'rgb24', width, height, bytes };
};

/** Milliseconds of each, in turns. */
async function medians(tasks: (() => unknown)[], rounds: number): Promise<number[]> {
  const times = tasks.map((): number[] => []);
  for (let round = -3; round < rounds; round++) {
    for (const [i, task] of tasks.entries()) {
      const started = performance.now();
      await task();
      if (round >= 0) times[i]!.push(performance.now() - started);
    }
  }
  return times.map(median);
}

const here: Pictures = {
  prepare: async (picture, preprocess) => preparedPixels(preprocess, await decodePicture(picture)),
  close: async () => undefined,
};

/** p99.9 and most of how late a 1 ms timer comes while frames are prepared as they come. */
async function lagOf(pictures: Pictures, picture: Picture, preprocess: ImagePreprocess): Promise<number> {
  let running = true;
  const late: number[] = [];
  const work = (async () => {
    while (running) await Promise.all([pictures.prepare(picture, preprocess), after(FRAME_MS)]);
  })();
  const until = performance.now() + 4_000;
  while (performance.now() < until) {
    const started = performance.now();
    await after(1);
    late.push(performance.now() - started - 1);
  }
  running = false;
  await work;
  return late.toSorted((a, b) => a - b)[Math.floor(late.length * 0.999)]!;
}

export async function run(emit: Emit): Promise<void> {
  const beside = workerPictures({ inlinePixels: 0 });
  const say = (
    metric: string,
    value: number,
    unit = 'ms',
    bar: string | null = null,
    holds: boolean | null = null,
  ) => emit({ bench: 'pictures', metric, value, unit, bar, holds });
  const { picture: hd, compressed } = pngOf(1920, 1080);
  const [inflate, png, prepare] = await medians(
    [() => inflateSync(compressed), () => decodePicture(hd), () => here.prepare(hd, wanted(224))],
    12,
  );
  say('zlib alone, PNG 1920 × 1080', inflate!);
  say('decode, PNG 1920 × 1080', png!);
  say('decode and prepare for 224 × 224', prepare!);
  for (const side of [28, 32, 64, 96, 128, 256]) {
    const raw = rawOf(side, side);
    const [inline, worker] = await medians(
      [() => here.prepare(raw, wanted(side)), () => beside.prepare(raw, wanted(side))],
      200,
    );
    say(`raw ${side} × ${side} here`, inline! * 1000, 'µs');
    say(`raw ${side} × ${side} by the worker`, worker! * 1000, 'µs');
  }
  const camera = rawOf(1280, 720);
  const nothing: Pictures = { ...here, prepare: () => turn() as Promise<never> };
  const spinning = new Worker('for (;;);', { eval: true });
  const bare = await lagOf(nothing, camera, wanted(224));
  await spinning.terminate();
  say('loop lag p99.9 beside a busy thread', bare);
  say('loop lag p99.9 with decoding on it', await lagOf(here, camera, wanted(224)));
  const lag = await lagOf(beside, camera, wanted(224));
  say(
    'loop lag p99.9 with decoding beside it',
    lag,
    'ms',
    `≤ 10 ms beyond ${bare.toFixed(1)}`,
    lag <= bare + 10,
  );
  await beside.close();
}
