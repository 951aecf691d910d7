/**
 * A sidecar reads a model by its path and knows nothing of encryption: while it loads one, a copy in clear lies in memory,
 * where only this user reads it. It takes the file's size there, for as long as the load takes.
 */
import { randomBytes } from 'node:crypto';
import { rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { SkeinError } from '@skein/protocol/errors.ts';
import { memoryFolder } from '../disk-memory.ts';
import { readBlob } from './disk-blob.ts';

export interface PlainCopy {
  path: string;
  remove(): Promise<void>;
}

/** @param key of the model store @throws SkeinError BACKEND_UNAVAILABLE when there is no room in memory, DATA_KEY_* */
export async function plainCopy(path: string, key: Uint8Array): Promise<PlainCopy> {
  const bytes = await readBlob(path, key);
  try {
    const folder = await memoryFolder('plain', dirname(path));
    const copy = join(folder, randomBytes(8).toString('hex'));
    const remove = () => rm(copy, { force: true });
    await writeFile(copy, bytes, { mode: 0o600 }).catch((thrown: unknown) =>
      remove().then(() => {
        throw thrown;
      }),
    );
    return { path: copy, remove };
  } catch (cause) {
    throw new SkeinError('BACKEND_UNAVAILABLE', `no room in memory for a model in clear: ${String(cause)}`, {
      cause,
      fix: 'A sidecar reads by path: give the service a RuntimeDirectory=, or use `load: repository`.',
    });
  }
}
