/**
 * Decoding beside the event loop: one worker thread for all cameras, started with the first picture that is worth the
 * way there. A picture of icon size is prepared in less time than the way takes (`npm run bench -- pictures`), so it
 * stays on the caller's thread. Bounds: `queueLimit` pictures wait, together no larger than one may be, the rest is
 * refused; a picture that takes longer than `timeoutMs` ends the thread, and the next one starts another. Bytes cross
 * in one piece of shared memory that is kept: to allocate megabytes for every frame holds up the loop for 30 ms.
 */
import { Worker } from 'node:worker_threads';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { ImagePreprocess } from '@skein/protocol/manifest-pipeline.ts';
import { type Bytes, MIB, type Millis } from '@skein/protocol/units.ts';
import type { Picture } from '../sources/port.ts';
import type { PictureAnswer, PictureJob } from './image-worker.ts';
import { jpegHeader } from './jpeg-header.ts';
import { type Pictures, type PreparedPicture, preparedPixels } from './pictures.ts';
import { checkBytes, invalid, PICTURE_LIMITS, type PictureLimits } from './pixels.ts';
import { pngHeader } from './png-chunks.ts';

export interface PictureOptions {
  limits?: PictureLimits;
  /** Pictures that may wait, of all sources together. */
  queueLimit?: number;
  timeoutMs?: Millis;
  /** Pictures and images of at most this many pixels are prepared at once, on the caller's thread. */
  inlinePixels?: number;
}

/** From the header alone. @throws SkeinError IMAGE_INVALID */
function sizeOf(picture: Picture): { width: number; height: number } {
  switch (picture.format) {
    case 'png':
      return pngHeader(picture.bytes);
    case 'jpeg':
      return jpegHeader(picture.bytes);
    default:
      return picture;
  }
}

const areaOf = (picture: Picture): number => {
  const { width, height } = sizeOf(picture);
  return width * height;
};

/** More compressed bytes than this are not worth looking at for a short cut. */
const ICON_BYTES = 32_768;

/** Shared memory larger than this is not kept. */
const KEPT_BYTES: Bytes = 16 * MIB;

interface Waiting {
  job: PictureJob;
  resolve(prepared: PreparedPicture): void;
  reject(error: Error): void;
}

export function workerPictures(options: PictureOptions = {}): Pictures {
  const { limits = PICTURE_LIMITS, queueLimit = 8, timeoutMs = 10_000, inlinePixels = 64 * 64 } = options;
  const queue: Waiting[] = [];
  let worker: Worker | undefined;
  let busy: Waiting | undefined;
  let timer: NodeJS.Timeout | undefined;

  let region = new SharedArrayBuffer(0);
  /** Its own bytes alone, whatever else their buffer holds. One picture is on its way at a time. */
  const shared = (bytes: Uint8Array): Uint8Array => {
    if (region.byteLength < bytes.length || region.byteLength > KEPT_BYTES) {
      region = new SharedArrayBuffer(bytes.length);
    }
    const view = new Uint8Array(region, 0, bytes.length);
    view.set(bytes);
    return view;
  };

  const settle = (act: (waiting: Waiting) => void): void => {
    const done = busy;
    clearTimeout(timer);
    busy = undefined;
    worker?.unref();
    if (done) act(done);
    next();
  };
  const start = (): Worker => {
    const started = new Worker(new URL('./image-worker.ts', import.meta.url), { name: 'skein-pictures' });
    started.on('message', (answer: PictureAnswer) => {
      settle(({ resolve, reject }) =>
        'prepared' in answer ? resolve(answer.prepared) : reject(errorOf(answer)),
      );
    });
    started.on('error', (cause) => ended(started, `the decoder failed: ${String(cause)}`));
    started.on('exit', () => ended(started, 'the decoder ended'));
    return started;
  };
  const ended = (which: Worker, why: string): void => {
    if (worker !== which) return;
    worker = undefined;
    settle(({ reject }) => reject(invalid(why)));
  };
  const overdue = (): void => {
    const late = worker;
    worker = undefined;
    // It may still read the old one.
    region = new SharedArrayBuffer(0);
    void late?.terminate();
    settle(({ reject }) => reject(invalid(`the picture took longer than ${timeoutMs} ms`)));
  };
  const next = (): void => {
    if (busy) return;
    busy = queue.shift();
    if (!busy) return;
    worker ??= start();
    worker.ref();
    timer = setTimeout(overdue, timeoutMs);
    const { picture } = busy.job;
    worker.postMessage({ ...busy.job, picture: { ...picture, bytes: shared(picture.bytes) } });
  };

  return {
    async prepare(picture: Picture, preprocess: ImagePreprocess): Promise<PreparedPicture> {
      checkBytes(picture, limits);
      const small =
        picture.bytes.length <= ICON_BYTES && preprocess.width * preprocess.height <= inlinePixels;
      if (small && areaOf(picture) <= inlinePixels) {
        const { decodePicture } = await import('./image-decode.ts');
        return preparedPixels(preprocess, await decodePicture(picture, limits));
      }
      const bytes = queue.reduce((sum, { job }) => sum + job.picture.bytes.length, picture.bytes.length);
      if (queue.length >= queueLimit || bytes > limits.bytes) {
        throw new SkeinError('OVERLOADED', `${queue.length} pictures wait to be decoded`, {
          fix: 'Take fewer pictures a second, or smaller ones.',
        });
      }
      const job = { picture, preprocess, limits };
      return new Promise((resolve, reject) => {
        queue.push({ job, resolve, reject });
        next();
      });
    },
    async close() {
      const last = worker;
      worker = undefined;
      const stopped = new SkeinError('OVERLOADED', 'the agent stops');
      for (const { reject } of queue.splice(0)) reject(stopped);
      settle(({ reject }) => reject(stopped));
      await last?.terminate();
    },
  };
}

const errorOf = ({ code, message, fix }: Extract<PictureAnswer, { code: unknown }>): SkeinError =>
  new SkeinError(code, message, fix ? { fix } : {});
