/**
 * A batch on its way with a number that nobody could know before: an answer to both was given after they were sent.
 *
 * A broker can keep every acknowledgement that the server ever signed. When the server comes back from a backup, devices
 * offer again what it may have lost, the same bytes; the answer from before the backup was restored must not do for them.
 *
 * Layout: `SKN1` (4) | nonce (8) | the sealed batch. Neither signed nor stored: whoever changes it spoils the answer alone.
 */
import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex, hexToBytes } from '@noble/hashes/utils.js';
import { SkeinError } from '../errors.ts';
import type { Bytes, Sha256Hex } from '../units.ts';

export const NONCE_BYTES: Bytes = 8;

const MAGIC = Uint8Array.of(0x53, 0x4b, 0x4e, 0x31);
const BATCH_AT = MAGIC.length + NONCE_BYTES;

export function withNonce(nonce: Uint8Array, batch: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(BATCH_AT + batch.length);
  bytes.set(MAGIC);
  bytes.set(nonce, MAGIC.length);
  bytes.set(batch, BATCH_AT);
  return bytes;
}

/**
 * The batch as it was sealed, and the nonce when it came with one.
 * @throws SkeinError BATCH_INVALID
 */
export function takeNonce(payload: Uint8Array): { batch: Uint8Array; nonce: Uint8Array | undefined } {
  if (!MAGIC.every((byte, at) => payload[at] === byte)) return { batch: payload, nonce: undefined };
  if (payload.length < BATCH_AT)
    throw new SkeinError('BATCH_INVALID', 'sealed batch: its nonce is cut short');
  return { batch: payload.subarray(BATCH_AT), nonce: payload.subarray(MAGIC.length, BATCH_AT) };
}

/** What an answer names in place of the batch's own hash: SHA-256 of nonce and hash. */
export const askedHash = (nonce: Uint8Array, hash: Sha256Hex): Sha256Hex =>
  bytesToHex(sha256(Uint8Array.of(...nonce, ...hexToBytes(hash))));
