/**
 * The server's online keys on disk: 32-byte Ed25519 seeds in hex, mode 0600, `<role>.key` in force and
 * `<role>.next.key` staged. They give freshness (snapshot, timestamp), choose among approved models (director) and
 * acknowledge (ack); none can approve a model. A key that is lost is made anew and must be named in new roots.
 */
import { randomBytes } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { bytesToHex } from '@noble/hashes/utils.js';
import { ONLINE_ROLES, type OnlineRole } from '@skein/protocol/api.ts';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Signer } from '@skein/protocol/ports.ts';
import { syncFolder, writeWhole } from '../disk-files.ts';
import { nativeSigner } from '../system-clock.ts';
import type { OnlineKeyring } from './online-keys.ts';

/** Makes the keys that are missing. @throws SkeinError KEYS_INVALID for a file that is no key */
export function openDiskOnlineKeys(folder: string): OnlineKeyring {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const pathOf = (role: OnlineRole) => join(folder, `${role}.key`);
  const nextOf = (role: OnlineRole) => join(folder, `${role}.next.key`);
  const held = new Map<OnlineRole, Signer[]>();
  for (const role of ONLINE_ROLES) {
    const current = open(pathOf(role));
    held.set(role, existsSync(nextOf(role)) ? [current, open(nextOf(role))] : [current]);
  }
  return {
    held: (role) => held.get(role)!,
    stage(role) {
      const [current] = held.get(role)!;
      held.set(role, [current!, open(nextOf(role))]);
    },
    keepOnly(role, publicHex) {
      const [current, next] = held.get(role)!;
      if (next && bytesToHex(next.publicKey) === publicHex) {
        renameSync(nextOf(role), pathOf(role));
        syncFolder(folder);
        held.set(role, [next]);
      } else if (bytesToHex(current!.publicKey) === publicHex) {
        rmSync(nextOf(role), { force: true });
        held.set(role, [current!]);
      } else throw new SkeinError('INTERNAL', `there is no ${role} key ${publicHex}`);
    },
  };
}

function open(path: string): Signer {
  const text = read(path) ?? create(path);
  if (!/^[0-9a-f]{64}$/.test(text)) {
    throw new SkeinError('KEYS_INVALID', `${path} does not hold a key`, {
      fix: 'Restore it from a backup; or remove it, restart, and run `skein keys rotate` for its role.',
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

/** Whole and synced before it is used: a root must never name a key that a power cut takes away. */
function create(path: string): string {
  const text = randomBytes(32).toString('hex');
  writeWhole(path, `${text}\n`);
  return text;
}
