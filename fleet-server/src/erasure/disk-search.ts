/** Searches files for a text, as `grep` would: read in chunks that overlap, so that none lies across a border unseen. */
import { open, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type Bytes, MIB } from '@skein/protocol/units.ts';

export interface Search {
  files: number;
  bytes: Bytes;
  found: number;
  /** Where it was found. */
  places: string[];
}

const CHUNK: Bytes = MIB;
const MAX_DEPTH = 4;

/** @param paths files and folders; what is not there is left out */
export async function searchFiles(paths: readonly string[], text: string): Promise<Search> {
  const search: Search = { files: 0, bytes: 0, found: 0, places: [] };
  for (const path of await filesUnder(paths)) {
    const { bytes, found } = await searchFile(path, Buffer.from(text));
    search.files++;
    search.bytes += bytes;
    search.found += found;
    if (found > 0) search.places.push(path);
  }
  return search;
}

async function filesUnder(paths: readonly string[], depth = 0): Promise<string[]> {
  const files: string[] = [];
  for (const path of paths) {
    const known = await stat(path).catch(() => undefined);
    if (known?.isFile()) files.push(path);
    if (!known?.isDirectory() || depth === MAX_DEPTH) continue;
    const inside = await readdir(path);
    files.push(
      ...(await filesUnder(
        inside.map((name) => join(path, name)),
        depth + 1,
      )),
    );
  }
  return files;
}

async function searchFile(path: string, needle: Buffer): Promise<{ bytes: Bytes; found: number }> {
  const file = await open(path, 'r');
  const overlap = needle.length - 1;
  const chunk = Buffer.alloc(overlap + CHUNK);
  let [bytes, found, kept] = [0, 0, 0];
  try {
    for (;;) {
      const { bytesRead } = await file.read(chunk, kept, CHUNK, bytes);
      if (bytesRead === 0) return { bytes, found };
      const end = kept + bytesRead;
      found += countIn(chunk.subarray(0, end), needle);
      bytes += bytesRead;
      kept = Math.min(overlap, end);
      chunk.copyWithin(0, end - kept, end);
    }
  } finally {
    await file.close();
  }
}

function countIn(bytes: Buffer, needle: Buffer): number {
  let found = 0;
  for (let at = bytes.indexOf(needle); at >= 0; at = bytes.indexOf(needle, at + 1)) found++;
  return found;
}
