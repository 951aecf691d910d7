/** A folder of pictures on disk: regular files whose names end in .jpg, .jpeg or .png. */
import { open, opendir } from 'node:fs/promises';
import { join } from 'node:path';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { PictureFolder } from './directory-source.ts';

const PICTURE = /\.(jpe?g|png)$/i;

const failed = (path: string, cause: unknown): SkeinError =>
  new SkeinError('SOURCE_FAILED', `cannot read ${path}: ${(cause as Error).message}`, {
    cause,
    fix: 'Check the source’s `path` and that the agent’s user may read it.',
  });

export const diskPictures = (path: string): PictureFolder => ({
  async list(most) {
    const names: string[] = [];
    try {
      for await (const entry of await opendir(path)) {
        if (entry.isDirectory() || entry.name.startsWith('.') || !PICTURE.test(entry.name)) continue;
        if (names.push(entry.name) > most) throw new Error(`more than ${most} pictures`);
      }
    } catch (cause) {
      throw failed(path, cause);
    }
    return names.sort();
  },

  async read(name, maxBytes) {
    const whole = join(path, name);
    try {
      const file = await open(whole, 'r');
      try {
        const { size } = await file.stat();
        if (size > maxBytes) throw tooLong(name, size, maxBytes);
        const bytes = new Uint8Array(size);
        const { bytesRead } = await file.read(bytes, 0, size, 0);
        return bytes.subarray(0, bytesRead);
      } finally {
        await file.close();
      }
    } catch (cause) {
      if (cause instanceof SkeinError) throw cause;
      if ((cause as { code?: string }).code === 'ENOENT') return undefined;
      throw failed(whole, cause);
    }
  },
});

const tooLong = (name: string, size: number, most: number): SkeinError =>
  new SkeinError('SOURCE_INVALID', `${name}: ${size} bytes, at most ${most} are read`, {
    fix: 'Raise the source’s `maxSize`, or give smaller pictures.',
  });
