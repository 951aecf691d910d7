/** Patches between files: `skein-model diff` and `skein-model patch`. A result appears under its name only when its hash is right. */
import { createHash, hash } from 'node:crypto';
import { type FileHandle, open, readFile, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { applyPatch } from '@skein/protocol/delta/apply.ts';
import { type Header, invalidPatch, MAX_SIZE } from '@skein/protocol/delta/format.ts';
import { makePatch } from '@skein/protocol/delta/make.ts';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Bytes } from '@skein/protocol/units.ts';
import { diskError, syncFolder } from '../disk-whole.ts';
import { chunksOf, hashOfFile, openOldFile } from '../update/disk-old-file.ts';

export interface PatchFacts {
  oldBytes: Bytes;
  newBytes: Bytes;
  patchBytes: Bytes;
  form: 'whole' | 'delta';
}

const sha256 = (bytes: Uint8Array): Buffer => hash('sha256', bytes, 'buffer');

/** @throws SkeinError NOT_FOUND, PATCH_INVALID, DISK_* */
export async function diffFiles(
  paths: { old: string; now: string; patch: string },
  onProgress: (done: Bytes, total: Bytes) => void,
): Promise<PatchFacts> {
  const [old, now] = [await readBounded(paths.old), await readBounded(paths.now)];
  const pieces = makePatch(old, now, sha256, (done) => onProgress(done, now.length));
  await writeChecked(paths.patch, async (write) => {
    for (const piece of pieces) await write(piece);
  });
  const patchBytes = pieces.reduce((sum, piece) => sum + piece.length, 0);
  const form = pieces[1] === now ? 'whole' : 'delta';
  return { oldBytes: old.length, newBytes: now.length, patchBytes, form };
}

async function readBounded(path: string): Promise<Uint8Array> {
  const size = await sizeOf(path);
  if (size > MAX_SIZE) throw invalidPatch(`${path} has ${size} bytes, at most ${MAX_SIZE} are taken`);
  return readFile(path).catch((cause: unknown) => {
    throw diskError(cause);
  });
}

/** @throws SkeinError NOT_FOUND */
async function sizeOf(path: string): Promise<Bytes> {
  const found = await stat(path).catch((cause: unknown) => {
    throw new SkeinError('NOT_FOUND', `there is no file ${path}`, { fix: 'Check the path.', cause });
  });
  if (found.isFile()) return found.size;
  throw new SkeinError('NOT_FOUND', `${path} is no file`, { fix: 'Give the model’s file.' });
}

/**
 * Applies a patch while reading both files from front to back.
 * @param maxBytes a larger result is refused before it is begun
 * @throws SkeinError NOT_FOUND, PATCH_WRONG_BASE, PATCH_INVALID, BLOB_MISMATCH, DISK_*
 */
export async function patchFile(
  paths: { old: string; patch: string; now: string },
  maxBytes: Bytes,
  onProgress: (done: Bytes, total: Bytes | undefined) => void,
): Promise<PatchFacts & { sha256: string }> {
  const patchBytes = await sizeOf(paths.patch);
  await sizeOf(paths.old);
  const oldHash = await hashOfFile(paths.old);
  const old = await openOldFile(paths.old);
  const result = createHash('sha256');
  let header: Header | undefined;
  let sha256 = '';
  try {
    await writeChecked(paths.now, async (write) => {
      let done = 0;
      const made = applyPatch(chunksOf(paths.patch), old, { oldHash, maxBytes }, (h) => {
        header = h;
      });
      for await (const chunk of made) {
        result.update(chunk);
        await write(chunk);
        done += chunk.length;
        onProgress(done, header?.newSize);
      }
      sha256 = checked(header!, result.digest());
    });
  } finally {
    await old.close();
  }
  const { oldSize, newSize, form } = header!;
  return { oldBytes: oldSize, newBytes: newSize, patchBytes, form, sha256 };
}

/** @throws SkeinError BLOB_MISMATCH */
function checked({ newHash }: Header, found: Buffer): string {
  if (newHash.every((byte, i) => byte === found[i])) return found.toString('hex');
  throw new SkeinError('BLOB_MISMATCH', 'what the patch makes is not what it was made for', {
    fix: 'The patch or the old file is damaged; nothing was written. Fetch them again.',
  });
}

/** Part, fsync, rename, fsync of the folder; nothing stays when `fill` throws. */
async function writeChecked(
  path: string,
  fill: (write: (bytes: Uint8Array) => Promise<void>) => Promise<void>,
): Promise<void> {
  const part = `${path}.part`;
  const file = await open(part, 'w').catch((cause: unknown) => {
    throw diskError(cause);
  });
  try {
    await fill((bytes) => writeAll(file, bytes));
    await file.sync();
    await file.close();
    await rename(part, path);
    syncFolder(dirname(path));
  } catch (error) {
    await file.close().catch(() => undefined);
    await rm(part, { force: true });
    throw error instanceof SkeinError ? error : diskError(error);
  }
}

async function writeAll(file: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let written = 0; written < bytes.length; )
    written += (await file.write(bytes, written, bytes.length - written)).bytesWritten;
}
