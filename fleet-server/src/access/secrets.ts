/** Secrets are 256 random bits, so a plain hash of them is enough to keep at rest and look up by. */

import { bytesToHex, utf8ToBytes } from '@noble/hashes/utils.js';
import type { Entropy } from '@skein/protocol/ports.ts';
import { sha256Hex } from '@skein/protocol/sha256.ts';
import type { Sha256Hex } from '@skein/protocol/units.ts';

export const newSecret = (entropy: Entropy): string => bytesToHex(entropy.bytes(32));

export const hashSecret = (secret: string): Sha256Hex => sha256Hex(utf8ToBytes(`skein-secret-v1\n${secret}`));

/** Takes the same time wherever two texts of equal length differ. */
export function sameText(a: string, b: string): boolean {
  if (a.length !== b.length) return false;
  let difference = 0;
  for (let at = 0; at < a.length; at += 1) difference |= a.charCodeAt(at) ^ b.charCodeAt(at);
  return difference === 0;
}

const ALPHABET = 'abcdefghijkmnpqrstuvwxyz23456789';

/** `length` characters that are hard to misread; 5 bits each. */
export const newId = (entropy: Entropy, length: number): string =>
  [...entropy.bytes(length)].map((byte) => ALPHABET[byte & 31]).join('');
