/** Bundles on disk: a directory `manifest.json` + `blobs/<sha256>`, or one `model.skein`. */
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { SkeinError } from '@skein/protocol/errors.ts';
import { type Bundle, bundleFromTar, bundleToTar, checkBundle } from './bundle.ts';

/** Writes the directory anew, so it never holds blobs of an older packing. */
export async function writeBundle(bundle: Bundle, directory: string): Promise<void> {
  await rm(join(directory, 'blobs'), { recursive: true, force: true });
  await mkdir(join(directory, 'blobs'), { recursive: true });
  for (const [sha, blob] of bundle.blobs) await writeFile(join(directory, 'blobs', sha), blob);
  await writeFile(join(directory, 'manifest.json'), bundle.manifestBytes);
}

export const writeBundleArchive = (bundle: Bundle, path: string): Promise<void> =>
  writeFile(path, bundleToTar(bundle));

/** @throws SkeinError BUNDLE_INVALID and those of {@link checkBundle} */
export async function readBundle(path: string): Promise<Bundle> {
  const found = await stat(path).catch(() => undefined);
  if (!found) {
    throw new SkeinError('BUNDLE_INVALID', `${path} does not exist`, {
      fix: 'Give the directory or the .skein file that `skein-model pack` wrote.',
    });
  }
  if (found.isFile()) return bundleFromTar(new Uint8Array(await readFile(path)));
  if (!existsSync(join(path, 'manifest.json'))) {
    throw new SkeinError('BUNDLE_INVALID', `${path} holds no manifest.json`);
  }
  const names = await readdir(join(path, 'blobs')).catch(() => [] as string[]);
  const blobs = await Promise.all(
    names.map(async (name) => [name, new Uint8Array(await readFile(join(path, 'blobs', name)))] as const),
  );
  return checkBundle(new Uint8Array(await readFile(join(path, 'manifest.json'))), new Map(blobs));
}
