/**
 * What the operator's folder remembers about its repository, beside the keys: `image-root.signed.json` (the root
 * that is believed) and `image-targets.signed.json` (the latest targets seen). A hostile server that shows another root, or older
 * targets, is found out before the publisher's key signs anything.
 */
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { openDocument, readRoot, readTargets } from '@skein/protocol/trust/metadata.ts';
import { writeWhole } from '../disk-files.ts';
import type { Pins } from '../keys/review.ts';

export type Pin = 'image-root' | 'director-root' | 'image-targets';

/** Verified when they were written. @throws SkeinError METADATA_INVALID for a damaged one */
export function readPins(folder: string): Pins {
  const read = <T>(pin: Pin, parse: (bytes: Uint8Array) => T): T | undefined => {
    const bytes = readPin(folder, pin);
    return bytes && parse(bytes);
  };
  const root = (bytes: Uint8Array) => readRoot(openDocument('root', bytes, 'pinned root'), 'pinned root');
  return {
    image: read('image-root', root),
    director: read('director-root', root),
    targets: read('image-targets', (bytes) =>
      readTargets(openDocument('targets', bytes, 'pinned targets'), 'pinned targets'),
    ),
  };
}

const pathOf = (folder: string, pin: Pin) => join(folder, `${pin}.signed.json`);

export function readPin(folder: string, pin: Pin): Uint8Array | undefined {
  const path = pathOf(folder, pin);
  return existsSync(path) ? new Uint8Array(readFileSync(path)) : undefined;
}

/** What was believed is void; the next roots that are signed here are pinned instead. */
export function dropPins(folder: string): void {
  for (const pin of ['image-root', 'director-root', 'image-targets'] as const)
    rmSync(pathOf(folder, pin), { force: true });
}

export function writePin(folder: string, pin: Pin, bytes: Uint8Array): void {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  writeWhole(pathOf(folder, pin), bytes);
}
