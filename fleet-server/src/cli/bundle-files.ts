/** A bundle on the operator's disk, directory or `model.skein`, with every blob's size and hash checked by streaming. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { lstat, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SkeinError } from '@skein/protocol/errors.ts';
import {
  type BlobRef,
  blobsOf,
  MAX_MANIFEST_BYTES,
  type Manifest,
  parseManifest,
} from '@skein/protocol/manifest.ts';
import { checkManifest } from '@skein/protocol/manifest-check.ts';
import { sha256Hex } from '@skein/protocol/sha256.ts';
import type { Bytes } from '@skein/protocol/units.ts';
import { unpackBundle } from './tar-bundle.ts';

export interface BundleFiles {
  manifest: Manifest;
  manifestRef: BlobRef;
  /** Manifest first, then each blob once. */
  files: (BlobRef & { path: string })[];
}

/**
 * Hands the checked bundle to `use`; a temporary folder of an archive is removed after.
 * @throws SkeinError BUNDLE_INVALID, BUNDLE_TRUNCATED, BLOB_MISMATCH, MANIFEST_INVALID
 */
export async function withBundle<T>(path: string, use: (bundle: BundleFiles) => Promise<T>): Promise<T> {
  const found = await lstat(path).catch(() => undefined);
  if (found?.isDirectory()) return use(await readBundle(path));
  if (!found?.isFile()) {
    throw new SkeinError('BUNDLE_INVALID', `${path} is neither a bundle directory nor a .skein file`, {
      fix: 'Give what `skein-model pack` wrote.',
    });
  }
  const folder = await mkdtemp(join(tmpdir(), 'skein-bundle-'));
  try {
    await unpackBundle(path, folder);
    return await use(await readBundle(folder));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function readBundle(folder: string): Promise<BundleFiles> {
  const path = join(folder, 'manifest.json');
  const size = await requirePlainFile(path, 'manifest.json');
  if (size > MAX_MANIFEST_BYTES) throw tooLarge(size);
  const bytes = new Uint8Array(await readFile(path));
  const manifest = parseManifest.parse(bytes, 'manifest.json');
  checkManifest(manifest);
  const unique = new Map(blobsOf(manifest).map((blob) => [blob.sha256, blob]));
  const blobs = [...unique.values()].map((blob) => ({ ...blob, path: join(folder, 'blobs', blob.sha256) }));
  for (const blob of blobs) await checkBlob(blob);
  const manifestRef = { sha256: sha256Hex(bytes), size: bytes.length };
  return { manifest, manifestRef, files: [{ ...manifestRef, path }, ...blobs] };
}

const tooLarge = (size: Bytes) =>
  new SkeinError(
    'MANIFEST_INVALID',
    `manifest.json: ${size} bytes, at most ${MAX_MANIFEST_BYTES} are taken`,
    {
      fix: 'Make the bundle again with `skein-model pack`.',
    },
  );

/** A link could name any file of the operator's machine, and it would be published. */
async function requirePlainFile(path: string, what: string): Promise<number> {
  const found = await lstat(path).catch(() => undefined);
  if (found?.isFile()) return found.size;
  throw new SkeinError('BUNDLE_INVALID', `${what} is ${found ? 'not a plain file' : 'missing'}`, {
    fix: 'Make the bundle again with `skein-model pack`.',
  });
}

async function checkBlob({ sha256, size, path }: BlobRef & { path: string }): Promise<void> {
  const actual = await requirePlainFile(path, `blob ${sha256}`);
  if (actual < size) {
    throw new SkeinError('BUNDLE_TRUNCATED', `blob ${sha256} has ${actual} of its ${size} bytes`, {
      fix: 'Copy the bundle again.',
    });
  }
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  if (actual === size && hash.digest('hex') === sha256) return;
  throw new SkeinError('BLOB_MISMATCH', `blob ${sha256} does not have the bytes that its name says`, {
    fix: 'The bundle was changed after it was packed; do not publish it.',
  });
}
