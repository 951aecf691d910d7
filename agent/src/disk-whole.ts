/** A file that is there whole or not at all, also through a power cut: part, fsync, rename, fsync of the folder. */
import { closeSync, fsyncSync, openSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { asSkeinError, SkeinError } from '@skein/protocol/errors.ts';

/** @param mode of the new file; by default it is readable by its owner only */
export function writeWhole(path: string, data: string | Uint8Array, mode = 0o600): void {
  const part = `${path}.part`;
  const file = openSync(part, 'w', mode);
  try {
    writeFileSync(file, data);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  renameSync(part, path);
  syncFolder(dirname(path));
}

/** A rename is on disk when its folder is. */
export function syncFolder(path: string): void {
  const folder = openSync(path, 'r');
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

const FULL = new Set(['ENOSPC', 'EDQUOT']);

export function diskError(thrown: unknown): SkeinError {
  const full = FULL.has((thrown as NodeJS.ErrnoException).code ?? '');
  return new SkeinError(full ? 'DISK_FULL' : 'DISK_FAILED', asSkeinError(thrown).message, { cause: thrown });
}
