/**
 * Public halves as files, `<role>-<name>.pub.json`: what a holder hands to whoever prepares a root. The key signs its own
 * file, so that a root never names a key that nobody holds, for a slip of the pen or of a file transfer.
 */
import { readFileSync, statSync } from 'node:fs';
import { bytesToHex, hexToBytes } from '@noble/hashes/utils.js';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Verify } from '@skein/protocol/ports.ts';
import { checker, oneOf, strict } from '@skein/protocol/schema.ts';
import { canonicalJson } from '@skein/protocol/trust/canonical-json.ts';
import { type Static, Type } from 'typebox';
import { OFFLINE_ROLES, requireName } from '../keys/roles.ts';
import type { AskPin, KeyInfo, Token } from '../keys/token.ts';

const PublicKeyFile = strict({
  format: Type.Literal(1),
  role: oneOf(OFFLINE_ROLES),
  name: Type.String({ maxLength: 200 }),
  public: Type.String({ pattern: '^[0-9a-f]{64}$' }),
  /** By the key itself, over {@link proofBytes}. */
  proof: Type.String({ pattern: '^[0-9a-f]{128}$' }),
});
export type PublicKeyFile = Static<typeof PublicKeyFile>;
const MAX_BYTES = 4096;
const AGAIN = 'Ask the holder for the file that `skein keys export` writes.';
const parse = checker(PublicKeyFile, 'KEYS_INVALID', MAX_BYTES, AGAIN);

/** `root-alice.json` is alice’s key for the role root. */
export const holderOf = ({ name, role }: Pick<KeyInfo, 'name' | 'role'>): string =>
  name.slice(role.length + 1).replace(/\.json$/, '');

const proofBytes = (key: Omit<PublicKeyFile, 'proof' | 'format'>): Uint8Array =>
  canonicalJson({ _type: 'skein-public-key', role: key.role, name: key.name, public: key.public });

/** @throws SkeinError PASSPHRASE_*, KEYS_INVALID */
export async function exportPublicKey(token: Token, key: KeyInfo, ask: AskPin): Promise<PublicKeyFile> {
  const said = { role: key.role, name: holderOf(key), public: key.publicKey };
  const proof = bytesToHex(await token.sign(key, proofBytes(said), ask));
  return { format: 1, ...said, proof };
}

/** @throws SkeinError NOT_FOUND, KEYS_INVALID, NAME_INVALID */
export function readPublicKey(path: string, verify: Verify): PublicKeyFile {
  const found = statSync(path, { throwIfNoEntry: false });
  if (!found?.isFile()) throw new SkeinError('NOT_FOUND', `there is no file ${path}`, { fix: AGAIN });
  if (found.size > MAX_BYTES)
    throw new SkeinError('KEYS_INVALID', `${path}: ${found.size} bytes is no public key`, { fix: AGAIN });
  const { format, proof, ...said } = parse.parse(new Uint8Array(readFileSync(path)), path);
  requireName(said.name);
  if (verify(hexToBytes(said.public), proofBytes(said), hexToBytes(proof))) return { format, proof, ...said };
  throw new SkeinError('KEYS_INVALID', `${path}: the key has not signed this file, or it was changed`, {
    fix: AGAIN,
  });
}
