/**
 * Keys as files, the one {@link Token} here: one JSON file a key, mode 0600, named `<role>-<name>.json`. The 32-byte
 * Ed25519 seed is plain hex, or with a passphrase sealed by ChaCha20-Poly1305 under scrypt (N 2¹⁷, r 8, p 1: about
 * 0.4 s and 128 MiB a guess); role and public key are bound to the seal, so files can not be exchanged unnoticed.
 * `sum` is a checksum without a secret: it tells a damaged file from a wrong passphrase, which need different people.
 */
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { bytesToHex } from '@noble/hashes/utils.js';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Signer } from '@skein/protocol/ports.ts';
import { checker, oneOf, strict } from '@skein/protocol/schema.ts';
import { type Static, Type } from 'typebox';
import { writeNew, writeWhole } from '../disk-files.ts';
import { OFFLINE_ROLES, type OfflineRole, requireName } from '../keys/roles.ts';
import type { KeyInfo, Token } from '../keys/token.ts';
import { nativeSigner } from '../system-clock.ts';
import { createDerivation, type Derivation, hex, Sealed, seal, unseal } from './key-seal.ts';

const KeyFile = strict({
  format: Type.Literal(1),
  role: oneOf(OFFLINE_ROLES),
  public: hex(32),
  seed: Type.Optional(hex(32)),
  sealed: Type.Optional(Sealed),
  sum: Type.Optional(hex(32)),
});
type KeyFile = Static<typeof KeyFile>;
const RESTORE = 'Restore the file from its copy; if there is none, follow `skein keys recover`.';
const parseKeyFile = checker(KeyFile, 'KEYS_INVALID', 4096, RESTORE);

const FILE_NAME = /^(root|targets|director-root)-[a-z0-9][a-z0-9-]*\.json$/;

export interface OfflineKey extends KeyInfo {
  sealed: boolean;
  /** Asks for the passphrase only when the key is used. @throws SkeinError PASSPHRASE_*, KEYS_INVALID */
  signer(passphrase?: string): Signer;
}

/** Files of one folder. What scrypt gave is kept while this object lives: keys made together share their salt. */
export function openKeyFolder(folder: string): Token {
  const derivation = createDerivation();
  return {
    label: folder,
    find: () => listKeys(folder, derivation),
    generate: async (role, name, pin) => createKey(folder, role, name, pin, derivation),
    async sign(key, message, ask) {
      const [file] = listKeys(folder, derivation).filter(({ name }) => name === key.name);
      if (!file) throw new SkeinError('NOT_FOUND', `there is no key ${key.name} in ${folder}`);
      return file.signer(file.needsPin ? await ask(key) : undefined).sign(message);
    },
  };
}

/** Makes a key and its file. @throws SkeinError CONFLICT when the file is there already, NAME_INVALID */
export function createKey(
  folder: string,
  role: OfflineRole,
  name: string | number,
  passphrase?: string,
  derivation: Derivation = createDerivation(),
): OfflineKey {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const seed = randomBytes(32);
  const publicKey = bytesToHex(nativeSigner(new Uint8Array(seed)).publicKey);
  const head = { format: 1, role, public: publicKey } as const;
  const file = keyFile(seed, head, passphrase, derivation);
  const fileName = `${role}-${requireName(String(name))}.json`;
  writeNew(join(folder, fileName), `${JSON.stringify(file, null, 2)}\n`);
  return { ...keyOf(fileName, file, derivation), signer: () => nativeSigner(new Uint8Array(seed)) };
}

function keyFile(
  seed: Buffer,
  head: Pick<KeyFile, 'format' | 'role' | 'public'>,
  passphrase: string | undefined,
  derivation: Derivation,
): KeyFile {
  const body: KeyFile = passphrase
    ? { ...head, sealed: seal(seed, head, passphrase, derivation) }
    : { ...head, seed: seed.toString('hex') };
  return { ...body, sum: sumOf(body) };
}

/**
 * Puts a key's file under another passphrase, or under none.
 * @throws SkeinError PASSPHRASE_NEEDED, PASSPHRASE_WRONG, KEYS_INVALID, NOT_FOUND
 */
export function protectKey(
  folder: string,
  name: string,
  old: string | undefined,
  passphrase: string | undefined,
): OfflineKey {
  const path = join(folder, name);
  if (!FILE_NAME.test(name) || !existsSync(path))
    throw new SkeinError('NOT_FOUND', `there is no key ${path}`);
  const derivation = createDerivation();
  const key = listKeys(folder, derivation).find((known) => known.name === name)!;
  // The public half is checked before the old file goes.
  key.signer(old);
  const before = parseKeyFile.parse(new Uint8Array(readFileSync(path)), name);
  const seed = seedOf(name, before, old, derivation);
  const head = { format: 1, role: before.role, public: before.public } as const;
  const file = keyFile(seed, head, passphrase, derivation);
  writeWhole(path, `${JSON.stringify(file, null, 2)}\n`);
  return keyOf(name, file, derivation);
}

/** Keys in `folder`, by file name. @throws SkeinError KEYS_INVALID for a file that is named as a key and is none */
export function listKeys(folder: string, derivation: Derivation = createDerivation()): OfflineKey[] {
  if (!existsSync(folder)) return [];
  const names = readdirSync(folder).filter((name) => FILE_NAME.test(name));
  return names.sort().map((name) => {
    const file = parseKeyFile.parse(new Uint8Array(readFileSync(join(folder, name))), name);
    if (file.sum !== undefined && file.sum !== sumOf(file)) {
      throw new SkeinError('KEYS_INVALID', `${name} is damaged: its checksum does not match`, {
        fix: RESTORE,
      });
    }
    return keyOf(name, file, derivation);
  });
}

const keyOf = (name: string, file: KeyFile, derivation: Derivation): OfflineKey => ({
  name,
  role: file.role,
  publicKey: file.public,
  sealed: file.sealed !== undefined,
  needsPin: file.sealed !== undefined,
  signer: (passphrase) => {
    const signer = nativeSigner(new Uint8Array(seedOf(name, file, passphrase, derivation)));
    if (bytesToHex(signer.publicKey) === file.public) return signer;
    throw new SkeinError('KEYS_INVALID', `${name}: the private half does not belong to the public one`, {
      fix: RESTORE,
    });
  },
});

function seedOf(name: string, file: KeyFile, passphrase: string | undefined, derivation: Derivation): Buffer {
  if (file.seed !== undefined) return Buffer.from(file.seed, 'hex');
  if (!file.sealed) throw new SkeinError('KEYS_INVALID', `${name} holds no private key`, { fix: RESTORE });
  if (!passphrase) {
    throw new SkeinError('PASSPHRASE_NEEDED', `${name} is protected by a passphrase`, {
      fix: 'Run it in a terminal, which asks for it, give --passphrase-file, or set SKEIN_KEY_PASSPHRASE.',
    });
  }
  try {
    return unseal(file, file.sealed, passphrase, derivation);
  } catch (cause) {
    if (file.sum === undefined) {
      throw new SkeinError('PASSPHRASE_WRONG', `${name}: wrong passphrase, or the file was changed`, {
        cause,
      });
    }
    throw new SkeinError('PASSPHRASE_WRONG', `${name}: wrong passphrase; the file itself is whole`, {
      cause,
      fix: 'Try again; mind the keyboard layout. Without it the key is lost: see `skein keys recover`.',
    });
  }
}

/** Over every field but itself, in a fixed order. */
function sumOf({ role, public: key, seed = '', sealed }: KeyFile): string {
  const { n = 0, salt = '', nonce = '', box = '' } = sealed ?? {};
  return createHash('sha256')
    .update(JSON.stringify([role, key, seed, n, salt, nonce, box]))
    .digest('hex');
}
