/** Bundles on disk: a directory `manifest.json` + `blobs/<sha256>`, or one `model.skein`. */
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { SkeinError } from '@skein/protocol/errors.ts';
import { type Bundle, type BundleFiles, bundleToTar, checkBundle, filesFromTar } from './bundle.ts';

const MAX_FILE_BYTES = 2 ** 31;
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
  const manifestBytes = await readBounded(join(path, 'manifest.json'));
  const names = (await readdir(join(path, 'blobs')).catch(() => [])).filter((name) => BLOB_NAME.test(name));
  if (names.length > MAX_BLOBS) throw new SkeinError('BUNDLE_INVALID', `${path} holds ${names.length} blobs`);
  const blobs = new Map<string, Uint8Array>();
  for (const name of names) blobs.set(name, await readBounded(join(path, 'blobs', name)));
  return { manifestBytes, blobs };
}

async function readBounded(path: string): Promise<Uint8Array> {
  const { size } = await stat(path);
  if (size > MAX_FILE_BYTES) throw new SkeinError('BUNDLE_INVALID', `${path} is larger than 2 GiB`);
  return new Uint8Array(await readFile(path));
}

/** @throws SkeinError BUNDLE_INVALID and those of {@link checkBundle} */
export async function readBundle(path: string): Promise<Bundle> {
  const { manifestBytes, blobs } = await readBundleFiles(path);
  return checkBundle(manifestBytes, blobs);
}
