/**
 * Custody of the keys that the server itself holds: 32-byte Ed25519 seeds in hex, one file each, mode 0600. They give
 * freshness (snapshot, timestamp), choose among approved models (director) and acknowledge (ack); none can approve a
 * model. A key that is lost is made anew and must be named in new roots.
 */
import { randomBytes } from 'node:crypto';
import { chmodSync, closeSync, fsyncSync, mkdirSync, openSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Signer } from '@skein/protocol/ports.ts';
import { nativeSigner } from '../system-clock.ts';
import { ONLINE_ROLES, type OnlineSigners } from './online-keys.ts';

/** Makes the keys that are missing. @throws SkeinError KEYS_INVALID for a file that is no key */
export function openDiskOnlineKeys(folder: string): OnlineSigners {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const signers = ONLINE_ROLES.map((role) => [role, open(join(folder, `${role}.key`))] as const);
  return Object.fromEntries(signers) as OnlineSigners;
}

function open(path: string): Signer {
  const text = read(path) ?? create(path);
  if (!/^[0-9a-f]{64}$/.test(text)) {
    throw new SkeinError('KEYS_INVALID', `${path} does not hold a key`, {
      fix: 'Restore it from a backup; or remove it, restart, and sign roots that name the new key.',
    });
  }
  chmodSync(path, 0o600);
  return nativeSigner(new Uint8Array(Buffer.from(text, 'hex')));
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw thrown;
  }
}

/** Synced before it is used: a root must never name a key that a power cut takes away. */
function create(path: string): string {
  const text = randomBytes(32).toString('hex');
  const file = openSync(path, 'wx', 0o600);
  try {
    writeSync(file, `${text}\n`);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  return text;
}
