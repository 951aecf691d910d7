/** How much of a disk is left for this process. */
import { statfs } from 'node:fs/promises';
import type { Bytes } from '@skein/protocol/units.ts';

export async function freeBytes(path: string): Promise<Bytes> {
  const { bavail, bsize } = await statfs(path);
  return bavail * bsize;
}
