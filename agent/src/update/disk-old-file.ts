/** The file a patch is applied to, read a window at a time: patches walk it mostly from front to back. */
import { createHash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import type { OldFile } from '@skein/protocol/delta/apply.ts';
import { SkeinError } from '@skein/protocol/errors.ts';
import { type Bytes, KIB } from '@skein/protocol/units.ts';
import { diskError } from '../disk-whole.ts';

const WINDOW: Bytes = 256 * KIB;
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
  const window = Buffer.allocUnsafe(WINDOW);
  let from = 0;
  let held = 0;
  return {
    size,
    async read(offset, length) {
      if (offset < from || offset + length > from + held) {
        from = offset;
        held = await readFully(offset, Math.min(WINDOW, size - offset));
      }
      if (offset + length > from + held) {
        throw new SkeinError('DISK_FAILED', `${path} became shorter while it was read`);
      }
      return window.subarray(offset - from, offset - from + length);
    },
    close: () => file.close(),
  };

  async function readFully(offset: Bytes, length: Bytes): Promise<Bytes> {
    for (let have = 0; ; ) {
      const { bytesRead } = await file.read(window, have, length - have, offset + have).catch(failed);
      have += bytesRead;
      if (bytesRead === 0 || have === length) return have;
    }
  }
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
