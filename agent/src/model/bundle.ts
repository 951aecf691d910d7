/** A model bundle as values: the manifest's very bytes and its blobs by hash. Pure; files are the adapter's matter. */
import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex, utf8ToBytes } from '@noble/hashes/utils.js';
import { SkeinError } from '@skein/protocol/errors.ts';
import {
  type BlobRef,
  blobsOf,
  type GoldenVectors,
  type Manifest,
  parseGolden,
  parseManifest,
} from '@skein/protocol/manifest.ts';
import { checkManifest } from '@skein/protocol/manifest-check.ts';
import type { Sha256Hex } from '@skein/protocol/units.ts';
import { readTar, writeTar } from './tar.ts';

export interface Bundle {
  manifest: Manifest;
  manifestBytes: Uint8Array;
  manifestSha256: Sha256Hex;
  blobs: ReadonlyMap<Sha256Hex, Uint8Array>;
}

/** What a directory or an archive holds, before anything is believed of it. */
export interface BundleFiles {
  manifestBytes: Uint8Array;
  blobs: ReadonlyMap<string, Uint8Array>;
}

export const hashOf = (bytes: Uint8Array): Sha256Hex => bytesToHex(sha256(bytes));

export const makeBundle = (manifest: Manifest, blobs: Iterable<Uint8Array>): Bundle => {
  const manifestBytes = utf8ToBytes(`${JSON.stringify(manifest)}\n`);
  return checkBundle(manifestBytes, new Map([...blobs].map((blob) => [hashOf(blob), blob])));
};

/** @throws SkeinError BUNDLE_TRUNCATED, BLOB_MISMATCH */
export function checkBlob({ sha256: wanted, size }: BlobRef, blobs: ReadonlyMap<string, Uint8Array>): void {
  const blob = blobs.get(wanted);
  if (!blob || blob.length < size) {
    const found = blob ? `only ${blob.length} bytes` : 'missing';
    throw new SkeinError('BUNDLE_TRUNCATED', `blob ${wanted} of ${size} bytes is ${found}`, {
      fix: 'Copy the bundle again, or make it again with `skein-model pack`.',
    });
  }
  if (blob.length !== size || hashOf(blob) !== wanted) {
    throw new SkeinError('BLOB_MISMATCH', `blob ${wanted} does not have the bytes that its name says`, {
      fix: 'The bundle was changed after it was packed; do not use it.',
    });
  }
}

/** Every named blob is there, of its size and hash; what is not named is left out; the parts fit each other. @throws SkeinError MANIFEST_INVALID, BUNDLE_TRUNCATED, BLOB_MISMATCH, BUNDLE_INVALID */
export function checkBundle(manifestBytes: Uint8Array, blobs: ReadonlyMap<string, Uint8Array>): Bundle {
  const manifest = parseManifest.parse(manifestBytes, 'manifest.json');
  checkManifest(manifest);
  for (const blob of blobsOf(manifest)) checkBlob(blob, blobs);
  const named = new Map(blobsOf(manifest).map(({ sha256: name }) => [name, blobs.get(name)!]));
  return { manifest, manifestBytes, manifestSha256: hashOf(manifestBytes), blobs: named };
}

/** @throws SkeinError BUNDLE_INVALID */
export const goldenOf = (bundle: Bundle): GoldenVectors =>
  parseGolden.parse(bundle.blobs.get(bundle.manifest.golden.sha256)!, 'golden vectors');

/** `model.skein`: the same files in one archive; the same bundle always gives the same bytes. */
export const bundleToTar = (bundle: Bundle): Uint8Array =>
  writeTar([
    ['manifest.json', bundle.manifestBytes],
    ...[...bundle.blobs]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([sha, blob]) => [`blobs/${sha}`, blob] as const),
  ]);

/** The files of an archive as they are, unchecked. @throws SkeinError BUNDLE_INVALID and those of {@link readTar} */
export function filesFromTar(bytes: Uint8Array): BundleFiles {
  const files = readTar(bytes);
  const manifestBytes = files.get('manifest.json');
  if (!manifestBytes) throw new SkeinError('BUNDLE_INVALID', 'the archive holds no manifest.json');
  const blobs = new Map([...files].filter(([n]) => n.startsWith('blobs/')).map(([n, b]) => [n.slice(6), b]));
  return { manifestBytes, blobs };
}

/** @throws SkeinError of {@link checkBundle} and {@link filesFromTar} */
export function bundleFromTar(bytes: Uint8Array): Bundle {
  const { manifestBytes, blobs } = filesFromTar(bytes);
  return checkBundle(manifestBytes, blobs);
}
