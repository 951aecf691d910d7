/**
 * Blobs of the model store, encrypted with AES-256-CTR: any place can be read or written by itself, so that a download goes
 * on where it stopped, a patch reads its old file anywhere, and a deployment writes 32 bytes more than its payload.
 *
 * CTR proves nothing, and need not: whoever uses a blob hashes what came out of it against a signed hash, and that covers a
 * changed header and changed bytes alike. A nonce is used for one blob, once: a blob begun anew gets another.
 *
 * Header, 32 bytes: `SKEINAR1 ‖ name(4) ‖ check(2) ‖ 0 0 ‖ nonce(12) ‖ 0 0 0 0`; its last 16 bytes are the first counter
 * block. Bound: 2^32 blobs of 64 GiB under one key.
 */
import { createCipheriv, type KeyObject, randomBytes } from 'node:crypto';
import type { Bytes } from '@skein/protocol/units.ts';
import { sealedWithoutKey } from './key-port.ts';
import { secretKey } from './node-gcm.ts';
import { headFor, whose } from './node-key-name.ts';
import { otherKey } from './node-row-cipher.ts';

export const HEADER_BYTES: Bytes = 32;
const MARK = Buffer.from('SKEINAR1');
const BLOCK: Bytes = 16;
const NONCE: Bytes = 12;

/** Encrypts or decrypts what follows from a place on, in order; both are the same. */
export interface Keystream {
  update(bytes: Uint8Array): Uint8Array;
}

export interface BlobCipher {
  /** Are new blobs encrypted? */
  readonly encrypts: boolean;
  /** 32 bytes, for whoever loads a model in a thread or process of its own. */
  readonly key: Uint8Array;
  header(): Uint8Array;
  /** undefined: a blob that begins so lies in clear. @throws SkeinError DATA_KEY_WRONG */
  streamOf(head: Uint8Array): ((offset: Bytes) => Keystream) | undefined;
}

export function blobCipher(dataKey: Uint8Array, encrypts = true): BlobCipher {
  const key = secretKey(dataKey);
  const head = headFor(dataKey, MARK);
  return {
    encrypts,
    key: dataKey,
    header: () => Buffer.concat([head, Buffer.alloc(2), randomBytes(NONCE), Buffer.alloc(4)]),
    streamOf(found) {
      const owner = whose(found, head, MARK.length);
      if (owner === 'other') throw otherKey('a model');
      if (owner === 'clear' || found.length < HEADER_BYTES) return undefined;
      const first = Buffer.from(found.subarray(HEADER_BYTES - BLOCK, HEADER_BYTES));
      return (offset) => keystream(key, first, offset);
    },
  };
}

function keystream(key: KeyObject, first: Buffer, offset: Bytes): Keystream {
  const counter = Buffer.from(first);
  counter.writeUInt32BE(Math.floor(offset / BLOCK), NONCE);
  const cipher = createCipheriv('aes-256-ctr', key, counter);
  if (offset % BLOCK > 0) cipher.update(new Uint8Array(offset % BLOCK));
  return cipher;
}

/** For whoever has no key. @throws SkeinError DATA_KEY_NEEDED */
export function refuseEncrypted(head: Uint8Array): void {
  if (whose(head, MARK, MARK.length) !== 'clear') throw sealedWithoutKey('a model');
}
