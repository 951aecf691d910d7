/** Model files for the desk tools: bare ONNX, or what a bundle holds. */
import { readFile, stat } from 'node:fs/promises';
import { SkeinError } from '@skein/protocol/errors.ts';
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

/** The file, or the first variant of the bundle. @throws SkeinError MODEL_INVALID, BUNDLE_* */
export async function readAnyModel(path: string): Promise<Uint8Array> {
  if (isModelFile(path)) return readModelFile(path);
  const { manifest, blobs } = await readBundle(path);
  return blobs.get(manifest.variants[0]!.file.sha256)!;
}
