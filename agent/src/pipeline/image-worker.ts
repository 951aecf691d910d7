/** The worker thread that decodes pictures: one at a time, each answered by its tensor, which is handed over. */
import { parentPort } from 'node:worker_threads';
import { asSkeinError, type ErrorCode } from '@skein/protocol/errors.ts';
import type { ImagePreprocess } from '@skein/protocol/manifest-pipeline.ts';
import type { Picture } from '../sources/port.ts';
import { decodePicture } from './image-decode.ts';
import { type PreparedPicture, preparedPixels } from './pictures.ts';
import type { PictureLimits } from './pixels.ts';

export interface PictureJob {
  picture: Picture;
  preprocess: ImagePreprocess;
  limits: PictureLimits;
}

export type PictureAnswer =
  | { prepared: PreparedPicture }
  | { code: ErrorCode; message: string; fix: string | undefined };

parentPort!.on('message', async ({ picture, preprocess, limits }: PictureJob) => {
  try {
    const prepared = preparedPixels(preprocess, await decodePicture(picture, limits));
    parentPort!.postMessage({ prepared } satisfies PictureAnswer, [prepared.data.buffer as ArrayBuffer]);
  } catch (thrown) {
    const { code, message, fix } = asSkeinError(thrown);
    parentPort!.postMessage({ code, message, fix } satisfies PictureAnswer);
  }
});
