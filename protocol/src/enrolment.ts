/**
 * What a device and its server must agree on byte by byte before they trust each other.
 *
 * Claim token: `id.secret.hash`. `hash` is SHA-256 over CA ‖ image root ‖ director root, as in {@link trustHash};
 * it never leaves the device. Only `id.secret` is sent to the server.
 * Renewal: the report key signs {@link renewalBytes}, so an expired certificate can still be replaced.
 */
import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex } from '@noble/hashes/utils.js';
import { SkeinError } from './errors.ts';
import type { Millis, Sha256Hex } from './units.ts';

const TOKEN = /^([a-z0-9]{4,32})\.([A-Za-z0-9_-]{16,128})\.([0-9a-f]{64})$/;

export interface ClaimToken {
  id: string;
  secret: string;
  /** What CA and roots of the right server hash to. */
  trust: Sha256Hex;
}

export const formatClaimToken = ({ id, secret, trust }: ClaimToken): string => `${id}.${secret}.${trust}`;

/** @throws SkeinError TOKEN_INVALID */
export function parseClaimToken(text: string): ClaimToken {
  const [, id, secret, trust] = TOKEN.exec(text.trim()) ?? [];
  if (id && secret && trust) return { id, secret, trust };
  throw new SkeinError('TOKEN_INVALID', 'this is not a claim token (id.secret.hash)', {
    fix: 'Copy the whole token as `skein tokens create` printed it.',
  });
}

/** Of the raw bytes: the CA certificate as PEM text, then the two signed root documents. Each is length-prefixed
 * (big-endian u32), so no two triples run together to the same bytes. */
export function trustHash(ca: Uint8Array, imageRoot: Uint8Array, directorRoot: Uint8Array): Sha256Hex {
  const hash = sha256.create();
  for (const part of [ca, imageRoot, directorRoot]) {
    const length = new Uint8Array(4);
    new DataView(length.buffer).setUint32(0, part.length);
    hash.update(length).update(part);
  }
  return bytesToHex(hash.digest());
}

/** `at` is the device's wall clock; it only orders renewals, it is not believed. */
export const renewalBytes = (device: string, at: Millis, csr: string): Uint8Array =>
  new TextEncoder().encode(`skein-renew-v1\n${device}\n${at}\n${csr}`);
