/**
 * Unpacks `model.skein` (ustar) by streaming, so a bundle may be larger than memory. Nothing but `manifest.json` and
 * `blobs/<sha256>` is ever written, so no name can lead out of the folder; links, devices and extension headers are
 * refused. Limits: {@link MAX_ENTRIES} entries, and no entry longer than the archive itself.
 */
import { type FileHandle, mkdir, open } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Bytes } from '@skein/protocol/units.ts';

const BLOCK = 512;
const CHUNK = 1 << 20;
const MAX_ENTRIES = 1000;
const NAME = /^(manifest\.json|blobs\/[0-9a-f]{64})$/;

/** @throws SkeinError BUNDLE_INVALID, BUNDLE_TRUNCATED */
export async function unpackBundle(archive: string, folder: string): Promise<void> {
  await mkdir(join(folder, 'blobs'), { recursive: true });
  const file = await open(archive, 'r');
  try {
    const { size } = await file.stat();
    let at = 0;
    for (let entries = 0; entries < MAX_ENTRIES; entries++) {
      const header = await readHeader(file, at, size);
      if (!header) return;
      at += BLOCK;
      if (at + header.size > size) throw truncated(size);
      if (header.name !== undefined) await copyOut(file, at, header.size, join(folder, header.name));
      at += Math.ceil(header.size / BLOCK) * BLOCK;
    }
    throw invalid(`more than ${MAX_ENTRIES} entries`);
  } finally {
    await file.close();
  }
}

/** undefined at the end of the archive; a name of undefined is a folder, of which nothing is taken. */
async function readHeader(file: FileHandle, at: Bytes, size: Bytes) {
  const block = Buffer.alloc(BLOCK);
  if (at + BLOCK > size || (await file.read(block, 0, BLOCK, at)).bytesRead < BLOCK) throw truncated(size);
  if (block.every((byte) => byte === 0)) return undefined;
  const text = (from: number, to: number) => block.toString('latin1', from, to).split('\0', 1)[0]!;
  const sum = block.reduce((total, byte, i) => total + (i >= 148 && i < 156 ? 0x20 : byte), 0);
  if (Number.parseInt(text(148, 156), 8) !== sum) throw invalid('an entry has a wrong checksum');
  const octal = text(124, 136).trim();
  const length = /^[0-7]+$/.test(octal) ? Number.parseInt(octal, 8) : Number.NaN;
  const name = text(0, 100).replace(/^\.\//, '');
  const kind = block.toString('latin1', 156, 157);
  if (!Number.isSafeInteger(length)) throw invalid(`${name} has no length`);
  if (kind === '5' && /^(|blobs\/?)$/.test(name)) return { name: undefined, size: 0 };
  const plain = (kind === '0' || kind === '\0') && text(345, 500) === '';
  if (!plain || !NAME.test(name)) throw invalid(`it holds \`${name}\`, which is not part of a bundle`);
  return { name, size: length };
}

async function copyOut(from: FileHandle, start: Bytes, size: Bytes, path: string): Promise<void> {
  const to = await open(path, 'wx', 0o600).catch((cause: NodeJS.ErrnoException) => {
    throw cause.code === 'EEXIST' ? invalid(`it holds \`${basename(path)}\` twice`) : cause;
  });
  const chunk = Buffer.alloc(Math.min(CHUNK, size));
  try {
    for (let done = 0; done < size; ) {
      const { bytesRead } = await from.read(chunk, 0, Math.min(chunk.length, size - done), start + done);
      if (bytesRead === 0) throw truncated(start + done);
      await to.write(chunk, 0, bytesRead);
      done += bytesRead;
    }
  } finally {
    await to.close();
  }
}

const invalid = (why: string) =>
  new SkeinError('BUNDLE_INVALID', `not a model bundle: ${why}`, {
    fix: 'Make it with `skein-model pack`.',
  });
const truncated = (size: Bytes) =>
  new SkeinError('BUNDLE_TRUNCATED', `the bundle ends in the middle, after ${size} bytes`, {
    fix: 'Copy the file again.',
  });
