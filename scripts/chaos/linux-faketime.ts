/** The wall clock of one process, told by libfaketime from a file; monotonic time goes on. */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

/** As libfaketime reads it. */
export const RIGHT_TIME = '+0';

export function findFaketime(): string | undefined {
  const folders = existsSync('/usr/lib')
    ? readdirSync('/usr/lib').map((name) => join('/usr/lib', name, 'faketime'))
    : [];
  return folders.map((folder) => join(folder, 'libfaketimeMT.so.1')).find((path) => existsSync(path));
}

/** @param file says which time it is, read at every look at the clock */
export const faketimeEnv = (library: string, file: string): NodeJS.ProcessEnv => ({
  LD_PRELOAD: library,
  FAKETIME_TIMESTAMP_FILE: file,
  FAKETIME_NO_CACHE: '1',
  FAKETIME_DONT_FAKE_MONOTONIC: '1',
  DONT_FAKE_MONOTONIC: '1',
  NO_FAKE_STAT: '1',
});
