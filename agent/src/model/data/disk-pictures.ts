/**
 * A directory of pictures, in order of their names, at most four levels deep. A picture in a sub-directory is of the
 * class that the first one names. What a file is, its first bytes say, not its name. Limits: 1,000,000 pictures of at
 * most 64 MiB; links are not followed.
 */
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { asSkeinError } from '@skein/protocol/errors.ts';
import type { Picture } from '../../sources/port.ts';
import { type DataSet, type Entry, refuse } from './samples.ts';

const MAX_PICTURES = 1_000_000;
const MAX_DEPTH = 4;
const MAX_BYTES = 2 ** 26;
const NAME = /\.(jpe?g|png)$/i;

async function namesIn(root: string, below: string, depth: number): Promise<string[]> {
  const names: string[] = [];
  const found = await readdir(join(root, below), { withFileTypes: true });
  for (const entry of found.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const name = below === '' ? entry.name : `${below}/${entry.name}`;
    if (entry.isDirectory() && depth < MAX_DEPTH) names.push(...(await namesIn(root, name, depth + 1)));
    else if (entry.isFile() && NAME.test(name)) names.push(name);
    if (names.length > MAX_PICTURES) throw refuse(root, `more than ${MAX_PICTURES} pictures`);
  }
  return names;
}

async function readPicture(path: string): Promise<Picture> {
  const { size } = await stat(path);
  if (size > MAX_BYTES) throw refuse(path, `${size} bytes, a picture has at most ${MAX_BYTES}`);
  const bytes = new Uint8Array(await readFile(path));
  if (bytes[0] === 0xff && bytes[1] === 0xd8) return { format: 'jpeg', bytes };
  if (bytes[0] === 0x89 && bytes[1] === 0x50 && bytes[2] === 0x4e && bytes[3] === 0x47)
    return { format: 'png', bytes };
  throw refuse(path, 'neither a JPEG nor a PNG: its first bytes are of another kind');
}

/** @param names of one file itself; else all below the directory `path`. @throws SkeinError SOURCE_INVALID */
export async function openPictures(path: string, names?: readonly string[]): Promise<DataSet> {
  const found = names ?? (await namesIn(path, '', 1));
  if (found.length === 0)
    throw refuse(
      path,
      'no .jpg, .jpeg or .png in this directory',
      'Give a directory of pictures, or one data file.',
    );
  async function* samples(): AsyncGenerator<Entry> {
    for (const where of found) {
      const truth = where.includes('/') ? where.split('/')[0] : undefined;
      try {
        const picture = await readPicture(names ? path : join(path, where));
        yield { where, truth, content: { kind: 'picture', picture } };
      } catch (thrown) {
        yield { where, problem: asSkeinError(thrown, 'SOURCE_INVALID') };
      }
    }
  }
  return { columns: undefined, count: found.length, samples };
}
