/**
 * Who has signed. A role's threshold is met by *distinct keys*: key ids are counted once, and two ids that name
 * the same public key are one key. The order is bound the bytes, verify, trust, parse.
 */
import { hexToBytes } from '@noble/hashes/utils.js';
import { SkeinError } from '../errors.ts';
import type { Verify } from '../ports.ts';
import type { OpenedDocument, TufKey, TufRole } from './metadata.ts';

/** Verification by key type and scheme, so that RSA and ECDSA can stand beside Ed25519. Never throws. */
export type KeyVerify = (key: TufKey, message: Uint8Array, signature: Uint8Array) => boolean;

const HEX = /^([0-9a-fA-F]{2})+$/;

/** The one scheme that Skein's own keys use; every other scheme is answered with no. */
export const ed25519Keys =
  (verify: Verify): KeyVerify =>
  (key, message, signature) =>
    key.keytype === 'ed25519' &&
    key.scheme === 'ed25519' &&
    HEX.test(key.keyval.public) &&
    verify(hexToBytes(key.keyval.public), message, signature);

/** Distinct keys of `role` that have signed `opened`. Work is bounded by the role's key ids. */
export function countSignatures(
  verify: KeyVerify,
  keys: Readonly<Record<string, TufKey>>,
  role: TufRole,
  opened: OpenedDocument,
): number {
  const signed = new Set<string>();
  for (const { keyid, sig } of opened.signatures) {
    const key = role.keyids.includes(keyid) && Object.hasOwn(keys, keyid) ? keys[keyid] : undefined;
    if (!key || !HEX.test(sig) || signed.has(identity(key))) continue;
    if (verify(key, opened.canonical, hexToBytes(sig))) signed.add(identity(key));
  }
  return signed.size;
}

/** @throws SkeinError SIGNATURE_INVALID */
export function requireThreshold(
  verify: KeyVerify,
  keys: Readonly<Record<string, TufKey>>,
  role: TufRole,
  opened: OpenedDocument,
  what: string,
): void {
  const count = countSignatures(verify, keys, role, opened);
  if (count >= role.threshold) return;
  throw new SkeinError(
    'SIGNATURE_INVALID',
    `${what}: signed by ${count} of the ${role.threshold} keys it needs`,
    { data: { count, threshold: role.threshold } },
  );
}

/** Public keys of a role, each once, whatever ids they go by. */
export const publicKeys = (keys: Readonly<Record<string, TufKey>>, role: TufRole): Set<string> =>
  new Set(role.keyids.filter((id) => Object.hasOwn(keys, id)).map((id) => identity(keys[id]!)));

/** PEM may differ in white space at its end, hex in case: neither makes another key. */
const identity = (key: TufKey): string => {
  const text = key.keyval.public.trim();
  return HEX.test(text) ? text.toLowerCase() : text;
};
