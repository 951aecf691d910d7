/**
 * Who has signed. A role's threshold is met by *distinct keys*: a key counts once, whatever ids it goes by and however
 * it is written. The order is bound the bytes, verify, trust, parse.
 */
import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex, hexToBytes } from '@noble/hashes/utils.js';
import { SkeinError } from '../errors.ts';
import type { Verify } from '../ports.ts';
import { canonicalJson } from './canonical-json.ts';
import type { OpenedDocument, TufKey, TufRole } from './metadata.ts';

export interface PublicKey {
  /** The same text for the same key material; lower-case hex of the 32 bytes for Ed25519. */
  identity: string;
  verify(message: Uint8Array, signature: Uint8Array): boolean;
}

/** Reads keys of the schemes it knows; undefined for every other and for what is no key. Never throws. */
export type ReadKey = (key: TufKey) => PublicKey | undefined;

const HEX = /^([0-9a-fA-F]{2})+$/;
const HEX_KEY = /^[0-9a-fA-F]{64}$/;

/** The one scheme that Skein's own keys use. */
export const ed25519Keys =
  (verify: Verify): ReadKey =>
  ({ keytype, scheme, keyval }) => {
    const hex = keyval.public ?? '';
    if (keytype !== 'ed25519' || scheme !== 'ed25519' || !HEX_KEY.test(hex)) return undefined;
    const raw = hexToBytes(hex);
    return { identity: hex.toLowerCase(), verify: (message, signature) => verify(raw, message, signature) };
  };

/** Clause 4.2: "a hexdigest of the SHA-256 hash of the canonical form of the key", fields we do not know included. */
export const keyIdOfKey = (key: TufKey): string => bytesToHex(sha256(canonicalJson(key)));

/**
 * Clause 4.3: "clients MUST calculate each KEYID to verify this is correct for the associated key". A key under a
 * wrong name vouches for nothing; the others go on, so that one slip of a tool does not lock devices out.
 */
function namedKey(
  read: ReadKey,
  keys: Readonly<Record<string, TufKey>>,
  keyid: string,
): PublicKey | undefined {
  const key = Object.hasOwn(keys, keyid) ? keys[keyid] : undefined;
  return key && keyIdOfKey(key) === keyid ? read(key) : undefined;
}

/** Distinct keys of `role` that have signed `opened`. Work is bounded by the role's key ids. */
export function countSignatures(
  read: ReadKey,
  keys: Readonly<Record<string, TufKey>>,
  role: TufRole,
  opened: OpenedDocument,
): number {
  const signed = new Set<string>();
  for (const { keyid, sig } of opened.signatures) {
    const key = role.keyids.includes(keyid) ? namedKey(read, keys, keyid) : undefined;
    if (!key || !HEX.test(sig) || signed.has(key.identity)) continue;
    if (key.verify(opened.canonical, hexToBytes(sig))) signed.add(key.identity);
  }
  return signed.size;
}

/** Clauses 5.3.4, 5.4.2, 5.5.3, 5.6.3: each key contributes one signature. @throws SkeinError SIGNATURE_INVALID */
export function requireThreshold(
  read: ReadKey,
  keys: Readonly<Record<string, TufKey>>,
  role: TufRole,
  opened: OpenedDocument,
  what: string,
): void {
  const count = countSignatures(read, keys, role, opened);
  if (count >= role.threshold) return;
  throw new SkeinError(
    'SIGNATURE_INVALID',
    `${what}: signed by ${count} of the ${role.threshold} keys it needs`,
    { data: { count, threshold: role.threshold } },
  );
}

/** Identities of a role's usable keys, each once, whatever ids they go by. */
export const publicKeys = (
  read: ReadKey,
  keys: Readonly<Record<string, TufKey>>,
  role: TufRole,
): Set<string> => new Set(role.keyids.flatMap((id) => namedKey(read, keys, id)?.identity ?? []));
