/**
 * What the operator's folder remembers about its repository, beside the keys: `image-root.signed.json` (the root
 * that is believed) and `image-targets.signed.json` (the latest targets seen). A hostile server that shows another root, or older
 * targets, is found out before the publisher's key signs anything.
 */
import { closeSync, existsSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { join } from 'node:path';

export type Pin = 'image-root' | 'director-root' | 'image-targets';

const pathOf = (folder: string, pin: Pin) => join(folder, `${pin}.signed.json`);

export function readPin(folder: string, pin: Pin): Uint8Array | undefined {
  const path = pathOf(folder, pin);
  return existsSync(path) ? new Uint8Array(readFileSync(path)) : undefined;
}

/** Whole or not at all, also through a power cut. */
export function writePin(folder: string, pin: Pin, bytes: Uint8Array): void {
  const path = pathOf(folder, pin);
  const file = openSync(`${path}.part`, 'w', 0o600);
  try {
    writeSync(file, bytes);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  renameSync(`${path}.part`, path);
}
