/** What a file or an answer holds, by its first bytes, and whether its end is there: a picture may be read half-written. */
import { SkeinError } from '@skein/protocol/errors.ts';
import { KIB } from '@skein/protocol/units.ts';
import { JpegWalk } from './frames/jpeg.ts';
import type { Picture } from './port.ts';

const PNG = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
/** The type and checksum of IEND, which is always empty (ISO/IEC 15948, 11.2.5). */
const IEND = [0x49, 0x45, 0x4e, 0x44, 0xae, 0x42, 0x60, 0x82];
/** Some cameras write a few bytes behind the end. */
const TAIL = 4 * KIB;

const begins = (bytes: Uint8Array, with_: readonly number[]): boolean =>
  with_.every((byte, i) => bytes[i] === byte);

function endsPng(bytes: Uint8Array): boolean {
  const tail = bytes.subarray(Math.max(0, bytes.length - TAIL));
  for (let at = tail.length - IEND.length; at >= 0; at -= 1) if (begins(tail.subarray(at), IEND)) return true;
  return false;
}

export type Found = { picture: Picture } | { wrong: 'cut' | 'unknown' };

export function findPicture(bytes: Uint8Array): Found {
  if (bytes.length < PNG.length) return { wrong: 'cut' };
  if (begins(bytes, [0xff, 0xd8, 0xff]))
    return new JpegWalk().go(bytes, bytes.length) === 'whole'
      ? { picture: { format: 'jpeg', bytes } }
      : { wrong: 'cut' };
  if (!begins(bytes, PNG)) return { wrong: 'unknown' };
  return endsPng(bytes) ? { picture: { format: 'png', bytes } } : { wrong: 'cut' };
}

/** @throws SkeinError SOURCE_INVALID */
export function pictureIn(bytes: Uint8Array, name: string): Picture {
  const found = findPicture(bytes);
  if ('picture' in found) return found.picture;
  throw noPicture(name, found.wrong);
}

export const noPicture = (name: string, wrong: 'cut' | 'unknown'): SkeinError =>
  new SkeinError(
    'SOURCE_INVALID',
    `${name}: ${wrong === 'cut' ? 'the image has no end' : 'neither JPEG nor PNG'}`,
    {
      fix: wrong === 'cut' ? 'Let its writer rename it into place when it is whole.' : 'Give JPEG or PNG.',
    },
  );
