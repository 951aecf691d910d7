/**
 * The server's word in its shortest form: these very batches are the newest that it has stored of their streams.
 * For whoever sends `SKB2`; a gap, a fork and the answer to a bridge need more words (`ack.ts`).
 *
 * Layout: `SKA1` (4) | Ed25519 signature (64) | SHA-256 of each batch, or of its nonce and that (`nonce.ts`), 32 each, at
 * most {@link MAX_ANSWERED}.
 * Signed: `skein-short-ack-v1\0` | the device's id in UTF-8 | 0 | the hashes. The device knows stream, epoch, number
 * and head of what it sent, so the hash says all of them; the key is one of those that the director named.
 */
import { bytesToHex, hexToBytes } from '@noble/hashes/utils.js';
import { SkeinError } from '../errors.ts';
import type { Signer, Verify } from '../ports.ts';
import type { Sha256Hex } from '../units.ts';

export const MAX_ANSWERED = 16;

const MAGIC = Uint8Array.of(0x53, 0x4b, 0x41, 0x31);
const HASHES_AT = MAGIC.length + 64;
const HASH = 32;
const CONTEXT = new TextEncoder().encode('skein-short-ack-v1\0');

export const isShortAck = (bytes: Uint8Array): boolean => MAGIC.every((byte, at) => bytes[at] === byte);

function signedBytes(device: string, hashes: Uint8Array): Uint8Array {
  const id = new TextEncoder().encode(device);
  const bytes = new Uint8Array(CONTEXT.length + id.length + 1 + hashes.length);
  bytes.set(CONTEXT);
  bytes.set(id, CONTEXT.length);
  bytes.set(hashes, CONTEXT.length + id.length + 1);
  return bytes;
}

/** @throws SkeinError MESSAGE_INVALID for none, or more than {@link MAX_ANSWERED} */
export function sealShortAck(signer: Signer, device: string, answered: readonly Sha256Hex[]): Uint8Array {
  if (answered.length === 0 || answered.length > MAX_ANSWERED) throw notOne();
  const hashes = Uint8Array.from(answered.flatMap((hash) => [...hexToBytes(hash)]));
  const bytes = new Uint8Array(HASHES_AT + hashes.length);
  bytes.set(MAGIC);
  bytes.set(signer.sign(signedBytes(device, hashes)), MAGIC.length);
  bytes.set(hashes, HASHES_AT);
  return bytes;
}

/**
 * The batches it answers, once one of `keysHex` is known to have signed it for this device.
 * @throws SkeinError MESSAGE_INVALID (not one), SIGNATURE_INVALID
 */
export function openShortAck(
  verify: Verify,
  keysHex: readonly string[],
  device: string,
  bytes: Uint8Array,
): Sha256Hex[] {
  const count = (bytes.length - HASHES_AT) / HASH;
  if (!isShortAck(bytes) || !Number.isInteger(count) || count < 1 || count > MAX_ANSWERED) throw notOne();
  const hashes = bytes.subarray(HASHES_AT);
  const signed = signedBytes(device, hashes);
  const signature = bytes.subarray(MAGIC.length, HASHES_AT);
  if (!keysHex.some((key) => verify(hexToBytes(key), signed, signature))) {
    throw new SkeinError('SIGNATURE_INVALID', `acknowledgement: the signature does not match for ${device}`);
  }
  return Array.from({ length: count }, (_, i) => bytesToHex(hashes.subarray(i * HASH, (i + 1) * HASH)));
}

const notOne = (): SkeinError => new SkeinError('MESSAGE_INVALID', 'not a short acknowledgement');
