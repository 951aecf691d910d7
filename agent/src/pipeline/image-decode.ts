/** Any picture to pixels, on the caller's thread. */
import type { Picture } from '../sources/port.ts';
import { decodeJpeg } from './image-jpeg.ts';
import { decodePng } from './image-png.ts';
import { checkBytes, PICTURE_LIMITS, type Pixels, rawPixels } from './pixels.ts';

/** @throws SkeinError IMAGE_INVALID, IMAGE_TOO_LARGE: from the header, before memory is taken */
export async function decodePicture(picture: Picture, limits = PICTURE_LIMITS): Promise<Pixels> {
  checkBytes(picture, limits);
  switch (picture.format) {
    case 'jpeg':
      return decodeJpeg(picture.bytes, limits);
    case 'png':
      return decodePng(picture.bytes, limits);
    default:
      return rawPixels(picture, limits);
  }
}
