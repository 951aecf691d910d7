/**
 * A small signed message between one device and its server: acknowledgements, commands, reports.
 *
 * Layout: `SKE1` (4) | Ed25519 public key (32) | signature (64) | payload (rest, raw bytes).
 * Signed: `skein-envelope-v1` | u16 length, domain | u16 length, device | payload. Domain and device are not
 * carried: both sides know them, so a message of another purpose or for another device can not verify.
 * Limits: {@link MAX_ENVELOPE_BYTES}; measured before anything else is looked at.
 */
import { hexToBytes } from '@noble/hashes/utils.js';
import { SkeinError } from '../errors.ts';
import type { Signer, Verify } from '../ports.ts';
import type { Bytes } from '../units.ts';

export const MAX_ENVELOPE_BYTES: Bytes = 256 * 1024;

const MAGIC = Uint8Array.of(0x53, 0x4b, 0x45, 0x31);
const KEY_AT = 4;
const SIGNATURE_AT = KEY_AT + 32;
const PAYLOAD_AT = SIGNATURE_AT + 64;
const CONTEXT = 'skein-envelope-v1';
const encoder = new TextEncoder();

/** @throws SkeinError MESSAGE_INVALID when the payload is too long. */
export function sealEnvelope(
  signer: Signer,
  domain: string,
  device: string,
  payload: Uint8Array,
): Uint8Array {
  checkSize(PAYLOAD_AT + payload.length);
  const bytes = new Uint8Array(PAYLOAD_AT + payload.length);
  bytes.set(MAGIC, 0);
  bytes.set(signer.publicKey, KEY_AT);
  bytes.set(signer.sign(signedBytes(domain, device, payload)), SIGNATURE_AT);
  bytes.set(payload, PAYLOAD_AT);
  return bytes;
}

/**
 * The payload, once one of `keysHex` is known to have signed it for this domain and device.
 * @throws SkeinError MESSAGE_INVALID (not an envelope), SIGNATURE_INVALID (not one of the keys, or not theirs)
 */
export function openEnvelope(
  verify: Verify,
  keysHex: readonly string[],
  domain: string,
  device: string,
  bytes: Uint8Array,
): Uint8Array {
  checkSize(bytes.length);
  if (bytes.length < PAYLOAD_AT || !MAGIC.every((byte, at) => bytes[at] === byte)) {
    throw new SkeinError('MESSAGE_INVALID', `${domain}: not a signed envelope`);
  }
  const key = bytes.subarray(KEY_AT, SIGNATURE_AT);
  if (!keysHex.some((hex) => sameBytes(hexToBytes(hex), key))) {
    throw new SkeinError('SIGNATURE_INVALID', `${domain}: signed by a key that may not sign it`);
  }
  const payload = bytes.subarray(PAYLOAD_AT);
  if (!verify(key, signedBytes(domain, device, payload), bytes.subarray(SIGNATURE_AT, PAYLOAD_AT))) {
    throw new SkeinError('SIGNATURE_INVALID', `${domain}: the signature does not match for ${device}`);
  }
  return payload.slice();
}

function signedBytes(domain: string, device: string, payload: Uint8Array): Uint8Array {
  const parts = [encoder.encode(CONTEXT), prefixed(domain), prefixed(device), payload];
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** Big-endian u16 length, then UTF-8: no two pairs of domain and device run together to the same bytes. */
function prefixed(text: string): Uint8Array {
  const encoded = encoder.encode(text);
  if (encoded.length > 0xffff) throw new SkeinError('MESSAGE_INVALID', 'domain or device id is too long');
  return Uint8Array.of(encoded.length >> 8, encoded.length & 0xff, ...encoded);
}

function checkSize(size: Bytes): void {
  if (size > MAX_ENVELOPE_BYTES) {
    throw new SkeinError('MESSAGE_INVALID', `envelope of ${size} bytes, at most ${MAX_ENVELOPE_BYTES}`);
  }
}

const sameBytes = (a: Uint8Array, b: Uint8Array): boolean =>
  a.length === b.length && a.every((byte, at) => byte === b[at]);
