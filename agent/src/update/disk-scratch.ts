/**
 * Where variants lie while they are measured against each other: memory (a tmpfs), so that a deployment writes only the
 * winner to the disk. At most half of the memory that is free is taken. Nobody else may read or place files there.
 */
import { rmSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { freemem } from 'node:os';
import { join } from 'node:path';
import { asSkeinError } from '@skein/protocol/errors.ts';
import type { Log } from '@skein/protocol/ports.ts';
import type { BlobCipher } from '../at-rest/node-blob-cipher.ts';
import { memoryFolder, ownFolder } from '../disk-memory.ts';
import { openDiskSlots } from './disk-slots.ts';
import type { Slots } from './ports.ts';

export type MeasureIn = 'memory' | 'disk' | 'off';

export interface Scratch extends Slots {
  /** Gives the memory back. */
  close(): void;
}

/**
 * undefined: nothing is measured, and the manifest's order decides. Never rejects.
 * @param cipher for what lies on the disk; memory is in clear
 */
export async function openScratch(
  where: MeasureIn,
  stateDir: string,
  log: Log,
  cipher?: BlobCipher,
): Promise<Scratch | undefined> {
  if (where === 'off') return undefined;
  try {
    const onDisk = join(stateDir, 'candidates');
    if (where === 'disk') await ownFolder(onDisk);
    const directory = where === 'disk' ? onDisk : await memoryFolder('candidates', stateDir);
    const slots = await openDiskSlots(
      where === 'disk' ? { directory, freeBytes: freeDisk, cipher } : { directory, freeBytes: freeMemory },
    );
    return { ...slots, close: () => rmSync(directory, { recursive: true, force: true }) };
  } catch (thrown) {
    log.info('variants are not measured on this device', { why: asSkeinError(thrown).message });
    return undefined;
  }
}

const freeDisk = async (directory: string): Promise<number> => {
  const { bavail, bsize } = await statfs(directory);
  return bavail * bsize;
};
const freeMemory = async (directory: string): Promise<number> =>
  Math.min(await freeDisk(directory), freemem() / 2);
