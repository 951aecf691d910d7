/** A small file, whole: bounded before anything looks at it, and never waited for. */
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import type { Bytes } from '@skein/protocol/units.ts';

/** The first `most` bytes at most. @throws what the file system throws, Error when it is a pipe, a device or a folder */
export function readSmall(path: string, most: Bytes): Uint8Array {
  const file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    if (!fstatSync(file).isFile()) throw new Error('it is no file');
    const bytes = new Uint8Array(most);
    return bytes.subarray(0, readSync(file, bytes));
  } finally {
    closeSync(file);
  }
}
