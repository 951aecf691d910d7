/**
 * Blobs as files: `<root>/<first two hex digits>/<sha256>`. A blob is streamed to `<root>/incoming/<random>`, hashed
 * on the way under a hard cap, synced, renamed into place, and both directories are synced: after a power cut it is
 * there whole or not at all. What lies in `incoming` at the start is of an upload that never finished.
 */
import { createHash, randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { asSkeinError, SkeinError } from '@skein/protocol/errors.ts';
import type { Bytes, Sha256Hex } from '@skein/protocol/units.ts';
import type { Blobs } from './port.ts';

const SHA256 = /^[0-9a-f]{64}$/;

export async function openDiskBlobs(root: string): Promise<Blobs> {
  const incoming = join(root, 'incoming');
  await mkdir(incoming, { recursive: true, mode: 0o700 });
  for (const name of await readdir(incoming)) await rm(join(incoming, name));
  return {
    sizeOf: (sha256) => sizeOf(pathOf(root, sha256)),
    read: (sha256, start, end) => read(pathOf(root, sha256), sha256, start, end),
    write: (sha256, bytes, maxBytes) => write(root, sha256, bytes, maxBytes),
  };
}

/** Nothing but a hash ever becomes a path. */
function pathOf(root: string, sha256: Sha256Hex): string {
  if (!SHA256.test(sha256)) {
    throw new SkeinError('REQUEST_INVALID', 'a blob is named by its SHA-256 in lower-case hex');
  }
  return join(root, sha256.slice(0, 2), sha256);
}

async function sizeOf(path: string): Promise<Bytes | undefined> {
  try {
    return (await stat(path)).size;
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw diskError(thrown);
  }
}

/** @throws SkeinError NOT_FOUND before the first byte */
async function* read(path: string, sha256: Sha256Hex, start = 0, end?: Bytes): AsyncIterable<Uint8Array> {
  const size = await sizeOf(path);
  if (size === undefined) throw new SkeinError('NOT_FOUND', `there is no blob ${sha256}`);
  const to = Math.min(end ?? size, size);
  if (start < to) yield* createReadStream(path, { start, end: to - 1 });
}

async function write(
  root: string,
  sha256: Sha256Hex,
  bytes: AsyncIterable<Uint8Array>,
  maxBytes: Bytes,
): Promise<Bytes> {
  const path = pathOf(root, sha256);
  const part = join(root, 'incoming', randomUUID());
  try {
    const size = await receive(part, sha256, bytes, maxBytes);
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    await rename(part, path);
    await syncFolder(dirname(path));
    await syncFolder(root);
    return size;
  } catch (thrown) {
    await rm(part, { force: true });
    throw diskError(thrown);
  }
}

async function receive(
  part: string,
  sha256: Sha256Hex,
  bytes: AsyncIterable<Uint8Array>,
  maxBytes: Bytes,
): Promise<Bytes> {
  const hash = createHash('sha256');
  const file = await open(part, 'wx', 0o600);
  let size = 0;
  try {
    for await (const chunk of bytes) {
      size += chunk.length;
      if (size > maxBytes)
        throw new SkeinError('BLOB_TOO_LARGE', `blob ${sha256}: more than ${maxBytes} bytes`);
      hash.update(chunk);
      await writeAll(file, chunk);
    }
    const got = hash.digest('hex');
    if (got !== sha256) throw new SkeinError('BLOB_MISMATCH', `blob ${sha256}: the bytes hash to ${got}`);
    await file.sync();
  } finally {
    await file.close();
  }
  return size;
}

async function writeAll(file: FileHandle, chunk: Uint8Array): Promise<void> {
  for (let at = 0; at < chunk.length; ) at += (await file.write(chunk, at)).bytesWritten;
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

function diskError(thrown: unknown): unknown {
  if (thrown instanceof SkeinError) return thrown;
  const { code } = thrown as NodeJS.ErrnoException;
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new SkeinError('DISK_FULL', 'the disk that holds the blobs is full', {
      cause: thrown,
      fix: 'Free space on the server, then upload again.',
    });
  }
  return asSkeinError(thrown, 'DISK_FAILED');
}
