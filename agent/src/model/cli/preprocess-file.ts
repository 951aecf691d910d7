/** The preprocessing and postprocessing files: a manifest's object of that name, as JSON or YAML. */
import { readFile } from 'node:fs/promises';
import { SkeinError } from '@skein/protocol/errors.ts';
import { Postprocess, type Preprocess } from '@skein/protocol/manifest.ts';
import { checkPreprocess } from '@skein/protocol/manifest-pipeline.ts';
import { checker } from '@skein/protocol/schema.ts';
import { parse } from 'yaml';

const MAX_BYTES = 1 << 20;
const FIX = 'The README lists the fields of a preprocessing file.';

/** @throws SkeinError MANIFEST_INVALID */
export async function readObject(path: string): Promise<unknown> {
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    throw new SkeinError('MANIFEST_INVALID', `${path} can not be read`, { fix: 'Check its path.', cause });
  });
  if (text.length > MAX_BYTES)
    throw new SkeinError('MANIFEST_INVALID', `${path} is larger than 1 MiB`, { fix: FIX });
  try {
    return parse(text, { maxAliasCount: 10 });
  } catch (cause) {
    throw new SkeinError('MANIFEST_INVALID', `${path}: ${(cause as Error).message}`, { fix: FIX, cause });
  }
}

export const readPreprocess = async (path: string): Promise<Preprocess> =>
  checkPreprocess(await readObject(path), path);

const postprocess = checker(
  Postprocess,
  'MANIFEST_INVALID',
  MAX_BYTES,
  'The README lists the kinds of postprocessing.',
);

/** @throws SkeinError MANIFEST_INVALID */
export const readPostprocess = async (path: string): Promise<Postprocess> =>
  postprocess.check(await readObject(path), path);
