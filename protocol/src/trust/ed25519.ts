/**
 * Strict Ed25519 (RFC 8032 §5.1.7 with the choices it leaves open made): S < L, so a signature can not be
 * altered into another valid one; A and R canonical (y < p); no point of small order, under which one signature
 * would fit many messages. With the precheck tweetnacl and node:crypto give the same verdicts.
 */
import nacl from 'tweetnacl';
import type { Signer, Verify } from '../ports.ts';

/** Little-endian p = 2²⁵⁵ − 19 and L = 2²⁵² + 27742317777372353535851937790883648493. */
const P = bytesOf('edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f');
const L = bytesOf('edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010');

/** y of the eight points whose order divides 8; the sign bit of x is masked before comparing. */
const SMALL_ORDER_Y = [
  '0000000000000000000000000000000000000000000000000000000000000000',
  '0100000000000000000000000000000000000000000000000000000000000000',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
].map(bytesOf);

/** The precheck in front of any implementation. */
export const strictEd25519 =
  (verify: Verify): Verify =>
  (publicKey, message, signature) =>
    publicKey.length === 32 &&
    signature.length === 64 &&
    soundPoint(publicKey) &&
    soundPoint(signature.subarray(0, 32)) &&
    lessThan(signature.subarray(32), L) &&
    verify(publicKey, message, signature);

/** About 10 ms a signature: for small documents, not for telemetry. */
export const tweetnaclVerify: Verify = strictEd25519((publicKey, message, signature) =>
  nacl.sign.detached.verify(message, signature, publicKey),
);

/** @param seed 32 bytes of private key */
export function tweetnaclSigner(seed: Uint8Array): Signer {
  const pair = nacl.sign.keyPair.fromSeed(seed);
  return {
    publicKey: pair.publicKey,
    sign: (message) => nacl.sign.detached(message, pair.secretKey),
  };
}

function soundPoint(point: Uint8Array): boolean {
  // A copy that is one: slice() of a Node Buffer is a view, and masking it would change the caller's signature.
  const y = Uint8Array.from(point);
  y[31]! &= 0x7f;
  return lessThan(y, P) && !SMALL_ORDER_Y.some((small) => small.every((byte, at) => byte === y[at]));
}

/** Little-endian comparison of public values; no need for constant time. */
function lessThan(a: Uint8Array, b: Uint8Array): boolean {
  for (let at = 31; at >= 0; at--) if (a[at] !== b[at]) return a[at]! < b[at]!;
  return false;
}

function bytesOf(hex: string): Uint8Array {
  return Uint8Array.from(hex.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}
