/** Files of any size for the patch tools: the old one at any place, a patch from front to back, both without garbage. */
import { createHash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import type { OldFile } from '@skein/protocol/delta/apply.ts';
import { type Bytes, KIB } from '@skein/protocol/units.ts';
import { diskError } from '../disk-whole.ts';
import { windowedFile } from './windowed-file.ts';

const CHUNK: Bytes = 64 * KIB;

const failed = (cause: unknown): never => {
  throw diskError(cause);
};
const opened = (path: string): Promise<FileHandle> => open(path, 'r').catch(failed);

export interface DiskOldFile extends OldFile {
  close(): Promise<void>;
}

/** @throws SkeinError DISK_FAILED */
export async function openOldFile(path: string): Promise<DiskOldFile> {
  const file = await opened(path);
  const { size } = await file.stat();
  const readInto = async (offset: Bytes, buffer: Uint8Array) =>
    (await file.read(buffer, 0, buffer.length, offset).catch(failed)).bytesRead;
  return { ...windowedFile(size, readInto), close: () => file.close() };
}

/**
 * A file from front to back in one buffer that is used again: each chunk is valid until the next is asked for, and
 * nothing is left to be collected.
 * @throws SkeinError DISK_FAILED
 */
export async function* chunksOf(path: string): AsyncGenerator<Uint8Array, void> {
  const file = await opened(path);
  try {
    const buffer = Buffer.allocUnsafe(CHUNK);
    for (;;) {
      const { bytesRead } = await file.read(buffer, 0, CHUNK, null).catch(failed);
      if (bytesRead === 0) return;
      yield buffer.subarray(0, bytesRead);
    }
  } finally {
    await file.close();
  }
}

/** SHA-256 of a file of any size. @throws SkeinError DISK_FAILED */
export async function hashOfFile(path: string): Promise<Buffer> {
  const hash = createHash('sha256');
  for await (const chunk of chunksOf(path)) hash.update(chunk);
  return hash.digest();
}
