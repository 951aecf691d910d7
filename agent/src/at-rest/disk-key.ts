/** A key from a file: read whole, bounded; and whether it lies where the data does. */
import { statSync } from 'node:fs';
import { asSkeinError } from '@skein/protocol/errors.ts';
import { readSmall } from './disk-small.ts';
import { keyBytes, MAX_KEY_TEXT } from './key-bytes.ts';
import { type KeyPort, keyNeeded } from './key-port.ts';

export const diskKey = (path: string, from = `file ${path}`, fix = FIX): KeyPort => ({
  from,
  read: async () => keyBytes(bytesOf(path, from, fix), from),
});

const FIX = 'Check `atRest.file`, that it is there before the agent starts, and who may read it.';

function bytesOf(path: string, from: string, fix: string): Uint8Array {
  try {
    return readSmall(path, MAX_KEY_TEXT);
  } catch (cause) {
    throw keyNeeded(`${from} cannot be read: ${asSkeinError(cause).message}`, fix, cause);
  }
}

/** Whoever takes the data takes the key as well. False when either is not there. */
export function liesBeside(path: string, folder: string): boolean {
  const [key, data] = [path, folder].map((each) => statSync(each, { throwIfNoEntry: false }));
  return key !== undefined && key.dev === data?.dev;
}
