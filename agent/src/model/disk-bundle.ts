/** Bundles on disk: a directory `manifest.json` + `blobs/<sha256>`, or one `model.skein`. */
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { SkeinError } from '@skein/protocol/errors.ts';
import { MAX_MANIFEST_BYTES } from '@skein/protocol/manifest.ts';
import type { Bytes } from '@skein/protocol/units.ts';
import { type Bundle, type BundleFiles, bundleToTar, checkBundle, filesFromTar } from './bundle.ts';

const MAX_FILE_BYTES: Bytes = 2 ** 31;
const MAX_BLOBS = 1000;
const BLOB_NAME = /^[0-9a-f]{64}$/;

/** Writes the directory anew, so it never holds blobs of an older packing. */
export async function writeBundle(bundle: Bundle, directory: string): Promise<void> {
  await rm(join(directory, 'blobs'), { recursive: true, force: true });
  await mkdir(join(directory, 'blobs'), { recursive: true });
  for (const [sha, blob] of bundle.blobs) await writeFile(join(directory, 'blobs', sha), blob);
  await writeFile(join(directory, 'manifest.json'), bundle.manifestBytes);
}

export const writeBundleArchive = (bundle: Bundle, path: string): Promise<void> =>
  writeFile(path, bundleToTar(bundle));

/** The files of a bundle as they are, unchecked. @throws SkeinError BUNDLE_INVALID, BUNDLE_TRUNCATED */
export async function readBundleFiles(path: string): Promise<BundleFiles> {
  const found = await stat(path).catch(() => undefined);
  if (!found) {
    throw new SkeinError('BUNDLE_INVALID', `${path} does not exist`, {
      fix: 'Give the directory or the .skein file that `skein-model pack` wrote.',
    });
  }
  if (found.isFile()) return filesFromTar(new Uint8Array(await readBounded(path)));
  if (!existsSync(join(path, 'manifest.json'))) {
    throw new SkeinError('BUNDLE_INVALID', `${path} holds no manifest.json`);
  }
  const manifestBytes = await readBounded(join(path, 'manifest.json'), MAX_MANIFEST_BYTES);
  const names = (await readdir(join(path, 'blobs')).catch(() => [])).filter((name) => BLOB_NAME.test(name));
  if (names.length > MAX_BLOBS) throw new SkeinError('BUNDLE_INVALID', `${path} holds ${names.length} blobs`);
  const blobs = new Map<string, Uint8Array>();
  for (const name of names) blobs.set(name, await readBounded(join(path, 'blobs', name)));
  return { manifestBytes, blobs };
}

/** A pipe would never end, and a link may lead to one. */
async function readBounded(path: string, maxBytes: Bytes = MAX_FILE_BYTES): Promise<Uint8Array> {
  const found = await stat(path).catch(() => undefined);
  if (!found?.isFile()) throw new SkeinError('BUNDLE_INVALID', `${path} is no plain file`);
  if (found.size > maxBytes)
    throw new SkeinError('BUNDLE_INVALID', `${path} has ${found.size} bytes, at most ${maxBytes} are taken`);
  return new Uint8Array(await readFile(path));
}

/** @throws SkeinError BUNDLE_INVALID and those of {@link checkBundle} */
export async function readBundle(path: string): Promise<Bundle> {
  const { manifestBytes, blobs } = await readBundleFiles(path);
  return checkBundle(manifestBytes, blobs);
}
