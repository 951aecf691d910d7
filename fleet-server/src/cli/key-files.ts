/**
 * The operator's offline keys: one JSON file a key, mode 0600, named `<role>-<n>.json`. The 32-byte Ed25519 seed is
 * plain hex, or with a passphrase sealed by ChaCha20-Poly1305 under scrypt (N 2¹⁷, r 8, p 1: about 0.4 s and 128 MiB
 * a guess); role and public key are bound to the seal, so files can not be exchanged unnoticed.
 */
import { createCipheriv, createDecipheriv, randomBytes, scryptSync } from 'node:crypto';
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { bytesToHex } from '@noble/hashes/utils.js';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Signer } from '@skein/protocol/ports.ts';
import { checker, oneOf, strict } from '@skein/protocol/schema.ts';
import { type Static, Type } from 'typebox';
import { nativeSigner } from '../system-clock.ts';

const KEY_ROLES = ['root', 'targets', 'director-root'] as const;
export type KeyRole = (typeof KEY_ROLES)[number];

const hex = (bytes: number) => Type.String({ pattern: `^[0-9a-f]{${bytes * 2}}$` });
const KeyFile = strict({
  format: Type.Literal(1),
  role: oneOf(KEY_ROLES),
  public: hex(32),
  seed: Type.Optional(hex(32)),
  sealed: Type.Optional(
    strict({
      n: Type.Integer({ minimum: 2, maximum: 2 ** 20 }),
      salt: hex(16),
      nonce: hex(12),
      box: hex(48),
    }),
  ),
});
type KeyFile = Static<typeof KeyFile>;
const parseKeyFile = checker(KeyFile, 'KEYS_INVALID', 4096);

const SCRYPT_N = 2 ** 17;

export interface OfflineKey {
  name: string;
  role: KeyRole;
  publicKey: string;
  sealed: boolean;
  /** Asks for the passphrase only when the key is used. @throws SkeinError KEYS_INVALID */
  signer(passphrase?: string): Signer;
}

/** Makes a key and its file. @throws SkeinError CONFLICT when the file is there already */
export function createKey(folder: string, role: KeyRole, n: number, passphrase?: string): OfflineKey {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const seed = randomBytes(32);
  const publicKey = bytesToHex(nativeSigner(new Uint8Array(seed)).publicKey);
  const head = { format: 1, role, public: publicKey } as const;
  const file: KeyFile = passphrase
    ? { ...head, sealed: seal(seed, head, passphrase) }
    : { ...head, seed: seed.toString('hex') };
  const name = `${role}-${n}.json`;
  writeNew(join(folder, name), `${JSON.stringify(file, null, 2)}\n`);
  return { ...keyOf(name, file), signer: () => nativeSigner(new Uint8Array(seed)) };
}

/** Keys in `folder`, by file name. @throws SkeinError KEYS_INVALID for a file that is named as a key and is none */
export function listKeys(folder: string): OfflineKey[] {
  if (!existsSync(folder)) return [];
  const names = readdirSync(folder).filter((name) => /^(root|targets|director-root)-\d+\.json$/.test(name));
  return names.sort().map((name) => {
    const file = parseKeyFile.parse(new Uint8Array(readFileSync(join(folder, name))), name);
    return keyOf(name, file);
  });
}

const keyOf = (name: string, file: KeyFile): OfflineKey => ({
  name,
  role: file.role,
  publicKey: file.public,
  sealed: file.sealed !== undefined,
  signer: (passphrase) => {
    const signer = nativeSigner(new Uint8Array(seedOf(name, file, passphrase)));
    if (bytesToHex(signer.publicKey) === file.public) return signer;
    throw new SkeinError('KEYS_INVALID', `${name}: the private half does not belong to the public one`);
  },
});

function seedOf(name: string, file: KeyFile, passphrase: string | undefined): Buffer {
  if (file.seed !== undefined) return Buffer.from(file.seed, 'hex');
  if (!file.sealed) throw new SkeinError('KEYS_INVALID', `${name} holds no private key`);
  if (!passphrase) {
    throw new SkeinError('KEYS_INVALID', `${name} is protected by a passphrase`, {
      fix: 'Set SKEIN_KEY_PASSPHRASE.',
    });
  }
  try {
    return unseal(file, file.sealed, passphrase);
  } catch (cause) {
    throw new SkeinError('KEYS_INVALID', `${name}: wrong passphrase, or the file was changed`, { cause });
  }
}

type Head = Pick<KeyFile, 'format' | 'role' | 'public'>;
const boundTo = ({ format, role, public: key }: Head) => Buffer.from(`skein-key-${format} ${role} ${key}`);
const derive = (passphrase: string, salt: Buffer, n: number) =>
  scryptSync(passphrase.normalize('NFKC'), salt, 32, { N: n, r: 8, p: 1, maxmem: 256 * n * 8 });

function seal(seed: Buffer, head: Head, passphrase: string): NonNullable<KeyFile['sealed']> {
  const [salt, nonce] = [randomBytes(16), randomBytes(12)];
  const key = derive(passphrase, salt, SCRYPT_N);
  const cipher = createCipheriv('chacha20-poly1305', key, nonce, { authTagLength: 16 });
  cipher.setAAD(boundTo(head), { plaintextLength: seed.length });
  const box = Buffer.concat([cipher.update(seed), cipher.final(), cipher.getAuthTag()]);
  return { n: SCRYPT_N, salt: salt.toString('hex'), nonce: nonce.toString('hex'), box: box.toString('hex') };
}

function unseal(head: Head, sealed: NonNullable<KeyFile['sealed']>, passphrase: string): Buffer {
  const [salt, nonce, box] = [sealed.salt, sealed.nonce, sealed.box].map((text) => Buffer.from(text, 'hex'));
  const key = derive(passphrase, salt!, sealed.n);
  const decipher = createDecipheriv('chacha20-poly1305', key, nonce!, { authTagLength: 16 });
  decipher.setAAD(boundTo(head), { plaintextLength: 32 });
  decipher.setAuthTag(box!.subarray(32));
  return Buffer.concat([decipher.update(box!.subarray(0, 32)), decipher.final()]);
}

/** Never over an existing file, and synced before anyone relies on it. */
function writeNew(path: string, text: string): void {
  let file: number;
  try {
    file = openSync(path, 'wx', 0o600);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') throw cause;
    throw new SkeinError('CONFLICT', `${path} exists already`, { cause, fix: 'Move it away first.' });
  }
  try {
    writeSync(file, text);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}
