/**
 * The second copy of the guarded trust state, in a small file beside trust.db: written to a temporary name, synced,
 * renamed, directory synced. A damaged, truncated or restored database can then neither lower a floor nor lose the
 * pinned roots.
 */
import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { asSkeinError, SkeinError } from '@skein/protocol/errors.ts';

export interface TrustGuard {
  /** undefined: there is none. Whether it is intact is for the reader to find out. */
  read(): string | undefined;
  write(text: string): void;
}

export function openDiskTrustGuard(path: string): TrustGuard {
  mkdirSync(dirname(path), { recursive: true });
  return {
    read() {
      try {
        return readFileSync(path, 'utf8');
      } catch (thrown) {
        if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
        throw diskError(thrown);
      }
    },
    write(text) {
      try {
        replaceFile(path, text);
      } catch (thrown) {
        throw diskError(thrown);
      }
    },
  };
}

function replaceFile(path: string, text: string): void {
  const part = `${path}.part`;
  const file = openSync(part, 'w', 0o600);
  try {
    writeSync(file, text);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  renameSync(part, path);
  const folder = openSync(dirname(path), 'r');
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

const diskError = (thrown: unknown) => {
  const full = (thrown as NodeJS.ErrnoException).code === 'ENOSPC';
  return new SkeinError(full ? 'DISK_FULL' : 'DISK_FAILED', asSkeinError(thrown).message, { cause: thrown });
};
