/** `identity/identity.json`: mode 0600 in a folder of mode 0700, written whole (part, fsync, rename, fsync folder). */
import {
  chmodSync,
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { SkeinError } from '@skein/protocol/errors.ts';
import { checker } from '@skein/protocol/schema.ts';
import { Identity, type IdentityStore } from './identity.ts';

const parseIdentity = checker(Identity, 'DISK_FAILED', 1 << 20);

export const identityPath = (stateDir: string): string => join(stateDir, 'identity', 'identity.json');

export function diskIdentity(stateDir: string): IdentityStore {
  const path = identityPath(stateDir);
  return {
    load: () => (existsSync(path) ? parseIdentity.parse(readable(path), path) : undefined),
    save(identity) {
      const folder = dirname(path);
      mkdirSync(folder, { recursive: true, mode: 0o700 });
      chmodSync(folder, 0o700);
      writeWhole(path, `${JSON.stringify(identity, null, 2)}\n`);
    },
  };
}

function readable(path: string): Uint8Array {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new SkeinError('DISK_FAILED', `cannot read ${path}: ${(cause as Error).message}`, {
      cause,
      fix: 'Run as the user that enrolled this device (the identity is readable only by it).',
    });
  }
}

function writeWhole(path: string, text: string): void {
  const part = `${path}.part`;
  try {
    const file = openSync(part, 'w', 0o600);
    writeSync(file, text);
    fsyncSync(file);
    closeSync(file);
    renameSync(part, path);
    const folder = openSync(dirname(path), 'r');
    fsyncSync(folder);
    closeSync(folder);
  } catch (cause) {
    const full = (cause as NodeJS.ErrnoException).code === 'ENOSPC';
    throw new SkeinError(
      full ? 'DISK_FULL' : 'DISK_FAILED',
      `cannot write ${path}: ${(cause as Error).message}`,
      {
        cause,
        fix: full
          ? 'Free space on the disk of the state directory.'
          : 'Check the state directory and its owner.',
      },
    );
  }
}
