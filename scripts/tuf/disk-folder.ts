/** Files named after what a repository calls its roles and targets, whatever characters those names have. */
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { diskError, writeWhole } from '@skein/agent/disk-whole.ts';
import { sha256Hex } from '@skein/protocol/sha256.ts';
import type { MetadataFolder } from './client.ts';

/** File systems take 255 bytes; a suffix and a prefix still fit. */
const MAX_NAME = 200;

/** One file name, never a path: `/` is encoded, `.` and `..` are, and what would be too long goes by its hash. */
export function fileNameOf(name: string): string {
  const encoded = encodeURIComponent(name).replace(/^\.{1,2}$/, (dots) => dots.replaceAll('.', '%2E'));
  return encoded.length > MAX_NAME ? sha256Hex(new TextEncoder().encode(name)) : encoded;
}

export function diskMetadataFolder(directory: string): MetadataFolder {
  const pathOf = (role: string) => join(directory, `${fileNameOf(role)}.json`);
  return {
    show(documents, before) {
      try {
        for (const [role, bytes] of documents)
          if (!holds(pathOf(role), bytes)) writeWhole(pathOf(role), bytes);
        for (const role of before) if (!documents.has(role)) rmSync(pathOf(role), { force: true });
      } catch (thrown) {
        throw diskError(thrown);
      }
    },
  };
}

function holds(path: string, bytes: Uint8Array): boolean {
  try {
    return Buffer.compare(readFileSync(path), bytes) === 0;
  } catch {
    return false;
  }
}
