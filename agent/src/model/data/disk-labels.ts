/** Names of classes from the command line or a file. */
import { readFile, stat } from 'node:fs/promises';
import { refuse } from './samples.ts';

const MAX_BYTES = 1 << 20;

/** `a,b,c`, or a file with one label a line. @throws SkeinError SOURCE_INVALID */
export async function readLabels(given: string): Promise<string[]> {
  const found = await stat(given).catch(() => undefined);
  if (!found?.isFile()) {
    if (given.includes('/') || /\.(txt|csv|json)$/.test(given))
      throw refuse(given, 'does not exist', 'Give a,b,c or a file with one label a line.');
    return given
      .split(',')
      .map((label) => label.trim())
      .filter(Boolean);
  }
  if (found.size > MAX_BYTES)
    throw refuse(given, `${found.size} bytes of labels, at most ${MAX_BYTES} are read`);
  const lines = (await readFile(given, 'utf8')).split('\n').map((label) => label.trim());
  return lines.filter(Boolean);
}
