/**
 * AES-256-GCM of one blob (NIST SP 800-38D): `nonce(12) ‖ ciphertext ‖ tag(16)`. What it is and where it lies goes in as
 * associated data, so that a blob moved elsewhere does not open.
 *
 * The nonce is random, 96 bits (8.2.2); then at most 2^32 blobs may be written under one key (8.3): four streams that each
 * commit every second take 34 years, and at the shortest commit interval, 100 ms, three.
 */
import { createCipheriv, createDecipheriv, createSecretKey, type KeyObject, randomBytes } from 'node:crypto';
import type { Bytes } from '@skein/protocol/units.ts';

const NONCE: Bytes = 12;
const TAG: Bytes = 16;
const AES = 'aes-256-gcm';

/** @param key 32 bytes */
export const secretKey = (key: Uint8Array): KeyObject => createSecretKey(key);

/** @param head stands before it in clear and is covered as well */
export function gcmSeal(key: KeyObject, plain: Uint8Array, about: string, head: Uint8Array = NONE): Buffer {
  const nonce = randomBytes(NONCE);
  const cipher = createCipheriv(AES, key, nonce);
  cipher.setAAD(associated(about, head));
  const hidden = cipher.update(plain);
  cipher.final();
  return Buffer.concat([head, nonce, hidden, cipher.getAuthTag()]);
}

/** undefined: it is not what was sealed, or not with this key and about this. */
export function gcmOpen(
  key: KeyObject,
  sealed: Uint8Array,
  about: string,
  headBytes: Bytes = 0,
): Buffer | undefined {
  const at = headBytes + NONCE;
  const end = sealed.length - TAG;
  if (end < at) return undefined;
  const decipher = createDecipheriv(AES, key, sealed.subarray(headBytes, at), { authTagLength: TAG });
  decipher.setAAD(associated(about, sealed.subarray(0, headBytes)));
  decipher.setAuthTag(sealed.subarray(end));
  try {
    return Buffer.concat([decipher.update(sealed.subarray(at, end)), decipher.final()]);
  } catch {
    return undefined;
  }
}

const NONE = new Uint8Array(0);
const associated = (about: string, head: Uint8Array): Buffer => Buffer.concat([Buffer.from(about), head]);
