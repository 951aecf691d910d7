/** `identity/identity.json`: mode 0600 in a folder of mode 0700, written whole (part, fsync, rename, fsync folder). */
import { chmodSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { SkeinError } from '@skein/protocol/errors.ts';
import { checker } from '@skein/protocol/schema.ts';
import { diskError, writeWhole } from '../disk-whole.ts';
import { Identity, type IdentityStore, MAX_IDENTITY_BYTES } from './identity.ts';

const parseIdentity = checker(Identity, 'DISK_FAILED', MAX_IDENTITY_BYTES);

export const identityPath = (stateDir: string): string => join(stateDir, 'identity', 'identity.json');

export function diskIdentity(stateDir: string): IdentityStore {
  const path = identityPath(stateDir);
  return {
    load: () => (existsSync(path) ? parseIdentity.parse(readable(path), path) : undefined),
    save(identity) {
      const folder = dirname(path);
      mkdirSync(folder, { recursive: true, mode: 0o700 });
      chmodSync(folder, 0o700);
      writeIdentity(path, `${JSON.stringify(identity, null, 2)}\n`);
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

function writeIdentity(path: string, text: string): void {
  try {
    writeWhole(path, text);
  } catch (thrown) {
    const { code, message } = diskError(thrown);
    throw new SkeinError(code, `cannot write ${path}: ${message}`, {
      cause: thrown,
      fix:
        code === 'DISK_FULL'
          ? 'Free space on the disk of the state directory.'
          : 'Check the state directory and its owner.',
    });
  }
}
