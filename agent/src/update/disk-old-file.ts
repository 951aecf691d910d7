/** The file a patch is applied to, read a window at a time: patches walk it mostly from front to back. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import type { OldFile } from '@skein/protocol/delta/apply.ts';
import { SkeinError } from '@skein/protocol/errors.ts';
import { type Bytes, KIB } from '@skein/protocol/units.ts';
import { diskError } from '../disk-whole.ts';

const WINDOW: Bytes = 256 * KIB;

export interface DiskOldFile extends OldFile {
  close(): Promise<void>;
}

/** @throws SkeinError DISK_FAILED */
export async function openOldFile(path: string): Promise<DiskOldFile> {
  const file = await open(path, 'r').catch((cause: unknown) => {
    throw diskError(cause);
  });
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
      const { bytesRead } = await file.read(window, have, length - have, offset + have).catch((cause) => {
        throw diskError(cause);
      });
      have += bytesRead;
      if (bytesRead === 0 || have === length) return have;
    }
  }
}

/** SHA-256 of a file of any size. @throws SkeinError DISK_FAILED */
export async function hashOfFile(
  path: string,
  onProgress: (done: Bytes) => void = () => {},
): Promise<Buffer> {
  const hash = createHash('sha256');
  let done = 0;
  try {
    for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) {
      hash.update(chunk);
      done += chunk.length;
      onProgress(done);
    }
  } catch (cause) {
    throw diskError(cause);
  }
  return hash.digest();
}
