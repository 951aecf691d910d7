/**
 * The second copy of the guarded trust state, in a small file beside trust.db: written to a temporary name, synced,
 * renamed, directory synced. A damaged, truncated or restored database can then neither lower a floor nor lose the
 * pinned roots.
 */
import { mkdirSync, readFileSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { diskError, writeWhole } from '../disk-whole.ts';
import { MAX_GUARDED_BYTES } from './trust-state.ts';

export interface TrustGuard {
  /** undefined: there is none. Whether it is intact is for the reader to find out. */
  read(): string | undefined;
  write(text: string): void;
}

export function openDiskTrustGuard(path: string): TrustGuard {
  mkdirSync(dirname(path), { recursive: true });
  return {
    read() {
      try {
        // What no guard can be is damage, and is not taken into memory.
        const found = statSync(path);
        return found.isFile() && found.size <= MAX_GUARDED_BYTES ? readFileSync(path, 'utf8') : '';
      } catch (thrown) {
        if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
        throw diskError(thrown);
      }
    },
    write(text) {
      try {
        writeWhole(path, text);
      } catch (thrown) {
        throw diskError(thrown);
      }
    },
  };
}
