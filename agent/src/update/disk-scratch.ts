/**
 * Where variants lie while they are measured against each other: memory (a tmpfs), so that a deployment writes only the
 * winner to the disk. At most half of the memory that is free is taken. Nobody else may read or place files there.
 */
import { createHash } from 'node:crypto';
import { rmSync } from 'node:fs';
import { lstat, mkdir, statfs } from 'node:fs/promises';
import { freemem } from 'node:os';
import { join } from 'node:path';
import { asSkeinError } from '@skein/protocol/errors.ts';
import type { Log } from '@skein/protocol/ports.ts';
import { openDiskSlots } from './disk-slots.ts';
import type { Slots } from './ports.ts';

export type MeasureIn = 'memory' | 'disk' | 'off';

export interface Scratch extends Slots {
  /** Gives the memory back. */
  close(): void;
}

/** statfs(2). */
const TMPFS_MAGIC = 0x01021994;

/** undefined: nothing is measured, and the manifest's order decides. Never rejects. */
export async function openScratch(
  where: MeasureIn,
  stateDir: string,
  log: Log,
): Promise<Scratch | undefined> {
  if (where === 'off') return undefined;
  const directory = where === 'disk' ? join(stateDir, 'candidates') : inMemory(stateDir);
  try {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const found = await lstat(directory);
    if (!found.isDirectory() || found.uid !== process.getuid?.())
      throw new Error(`${directory} belongs to someone else`);
    const { type } = await statfs(directory);
    if (where === 'memory' && type !== TMPFS_MAGIC) throw new Error(`${directory} does not lie in memory`);
    const slots = await openDiskSlots({ directory, freeBytes: where === 'memory' ? freeMemory : freeDisk });
    return { ...slots, close: () => rmSync(directory, { recursive: true, force: true }) };
  } catch (thrown) {
    log.info('variants are not measured on this device', { why: asSkeinError(thrown).message });
    return undefined;
  }
}

/** systemd's RuntimeDirectory=, or a folder of this state directory's own. */
function inMemory(stateDir: string): string {
  const given = process.env.RUNTIME_DIRECTORY?.split(':')[0];
  const own = createHash('sha256').update(stateDir).digest('hex').slice(0, 12);
  return given ? join(given, 'candidates') : `/dev/shm/skein-agent-${process.getuid?.() ?? 0}-${own}`;
}

const freeDisk = async (directory: string): Promise<number> => {
  const { bavail, bsize } = await statfs(directory);
  return bavail * bsize;
};
const freeMemory = async (directory: string): Promise<number> =>
  Math.min(await freeDisk(directory), freemem() / 2);
