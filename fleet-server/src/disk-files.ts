/** Small files that must survive a power cut: whole or not at all, and there for good when the call returns. */
import { closeSync, fsyncSync, openSync, renameSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { SkeinError } from '@skein/protocol/errors.ts';

/** In place of what was there. Mode 0600. */
export function writeWhole(path: string, bytes: Uint8Array | string): void {
  const part = `${path}.part`;
  writeSynced(openSync(part, 'w', 0o600), bytes);
  renameSync(part, path);
  syncFolder(dirname(path));
}

/** Never over an existing file. Mode 0600. @throws SkeinError CONFLICT */
export function writeNew(path: string, bytes: Uint8Array | string): void {
  let file: number;
  try {
    file = openSync(path, 'wx', 0o600);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') throw cause;
    throw new SkeinError('CONFLICT', `${path} exists already`, { cause, fix: 'Move it away first.' });
  }
  writeSynced(file, bytes);
  syncFolder(dirname(path));
}

/** A rename or a new name lasts once its folder is on the disk. */
export function syncFolder(folder: string): void {
  const handle = openSync(folder, 'r');
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}

function writeSynced(file: number, bytes: Uint8Array | string): void {
  try {
    const whole = Buffer.from(bytes as string);
    for (let at = 0; at < whole.length; ) at += writeSync(file, whole, at);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}
