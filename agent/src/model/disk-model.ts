/** Model files for the desk tools: bare ONNX, or what a bundle holds. */
import { readFile, stat } from 'node:fs/promises';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Bundle } from './bundle.ts';
import { readBundle } from './disk-bundle.ts';
import { MAX_MODEL_BYTES } from './graph.ts';

/** @throws SkeinError MODEL_INVALID */
export async function readModelFile(path: string): Promise<Uint8Array> {
  try {
    const { size } = await stat(path);
    if (size > MAX_MODEL_BYTES) throw new Error(`it has ${size} bytes, at most 1 GiB is read`);
    return new Uint8Array(await readFile(path));
  } catch (cause) {
    throw new SkeinError('MODEL_INVALID', `${path} can not be read: ${(cause as Error).message}`, {
      fix: 'Check the path of the model.',
      cause,
    });
  }
}

export const isModelFile = (path: string): boolean => path.endsWith('.onnx');

/** A variant of a bundle; the first that runs here when none is named. @throws SkeinError NOT_FOUND */
export function variantBytes({ manifest, blobs }: Bundle, wanted?: string): Uint8Array {
  const variant =
    wanted === undefined
      ? manifest.variants.find(({ backend }) => backend === 'onnxruntime')
      : manifest.variants.find(({ id }) => id === wanted);
  if (variant) return blobs.get(variant.file.sha256)!;
  throw new SkeinError(
    'NOT_FOUND',
    `the bundle has no variant ${wanted === undefined ? 'for onnxruntime' : `\`${wanted}\``}`,
    {
      fix: `It has ${manifest.variants.map(({ id }) => id).join(', ')}.`,
    },
  );
}

/** The file, or a variant of the bundle. @throws SkeinError MODEL_INVALID, BUNDLE_*, NOT_FOUND */
export async function readAnyModel(path: string, variant?: string): Promise<Uint8Array> {
  return isModelFile(path) ? readModelFile(path) : variantBytes(await readBundle(path), variant);
}
