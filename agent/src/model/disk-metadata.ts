/** A folder of TUF metadata in place of a server: the files of an image repository under their own names. */
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Mirror } from '@skein/protocol/trust/client-workflow.ts';

const NAME = /^[A-Za-z0-9._-]{1,200}$/;

export const diskMetadata = (directory: string): Mirror => ({
  async document(name, maxBytes) {
    if (!NAME.test(name)) return undefined;
    const file = join(directory, name);
    const found = await stat(file).catch(() => undefined);
    if (!found?.isFile()) return undefined;
    if (found.size > maxBytes)
      throw new SkeinError(
        'PAYLOAD_TOO_LARGE',
        `${file} has ${found.size} bytes, at most ${maxBytes} are read`,
      );
    return new Uint8Array(await readFile(file));
  },
});
