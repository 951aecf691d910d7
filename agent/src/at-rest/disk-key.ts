/** A key from a file: read whole, bounded; and whether it lies where the data does. */
import { closeSync, constants, fstatSync, openSync, readSync, statSync } from 'node:fs';
import type { Bytes } from '@skein/protocol/units.ts';
import { keyBytes, MAX_KEY_TEXT } from './key-bytes.ts';
import { type KeyPort, keyNeeded } from './key-port.ts';

export const diskKey = (path: string, from = `file ${path}`, fix = FIX): KeyPort => ({
  from,
  read: async () => keyBytes(bytesOf(path, from, fix), from),
});

const FIX = 'Check `atRest.file`, that it is there before the agent starts, and who may read it.';

/** Of a pipe or a device nothing is waited for. */
function bytesOf(path: string, from: string, fix: string): Uint8Array {
  let file: number;
  try {
    file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (cause) {
    throw keyNeeded(`${from} cannot be read: ${(cause as Error).message}`, fix, cause);
  }
  try {
    if (!fstatSync(file).isFile()) throw keyNeeded(`${from} is no file`, fix);
    const bytes = new Uint8Array(MAX_KEY_TEXT);
    const length: Bytes = readSync(file, bytes);
    return bytes.subarray(0, length);
  } finally {
    closeSync(file);
  }
}

/** Whoever takes the data takes the key as well. False when either is not there. */
export function liesBeside(path: string, folder: string): boolean {
  const [key, data] = [path, folder].map((each) => statSync(each, { throwIfNoEntry: false }));
  return key !== undefined && key.dev === data?.dev;
}
