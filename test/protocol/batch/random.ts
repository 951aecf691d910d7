/** Seeded values for the randomised tests; the seed is printed by the test that fails. */
import { createHash, createPrivateKey, createPublicKey, sign, verify } from 'node:crypto';
import type { Signer, Verify } from '@skein/protocol/ports.ts';

export type Random = () => number;

/** mulberry32: uniform in [0, 1). */
export function seeded(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

export const below = (random: Random, limit: number): number => Math.floor(random() * limit);
export const pick = <T>(random: Random, items: readonly T[]): T => items[below(random, items.length)]!;

const TEXTS = ['', 'ethanol', 'Grüße', '鷹', '👩‍🚀', 'a"b\\c', '\u0000', 'constructor', 'x'.repeat(300)];
const NUMBERS = [0, -0, 1, -1, 0.1, 51.2, 1e300, -1e-300, 2 ** 52, 2 ** 53, -(2 ** 60), Math.PI, 3.5];
const SPECIAL = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];

/** Any value that a record may hold; `finite` leaves out what JSON has no word for. */
export function anyValue(random: Random, depth: number, finite = false): unknown {
  const shapes = depth > 0 ? 8 : 6;
  switch (below(random, shapes)) {
    case 0:
      return null;
    case 1:
      return random() < 0.5;
    case 2:
      return pick(random, TEXTS);
    case 3:
      return pick(random, finite ? NUMBERS.filter((n) => !Object.is(n, -0)) : [...NUMBERS, ...SPECIAL]);
    case 4:
      return below(random, 2_000_000) - 1_000_000;
    case 5:
      return random() < 0.5 ? Math.fround(random()) : random() * 10 ** below(random, 12);
    case 6:
      return Array.from({ length: below(random, 4) }, () => anyValue(random, depth - 1, finite));
    default:
      return anyObject(random, depth - 1, finite);
  }
}

export function anyObject(random: Random, depth: number, finite = false): Record<string, unknown> {
  const keys = ['ts', 'score', 'label', 'ä', 'toString', ''].filter(() => random() < 0.6);
  return Object.fromEntries(keys.map((key) => [key, anyValue(random, depth, finite)]));
}

/** An Ed25519 key made from a name, so that tests are the same every time. */
export function testSigner(name: string): Signer {
  const seed = createHash('sha256').update(name).digest();
  const der = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), seed]);
  const key = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
  const spki = createPublicKey(key).export({ format: 'der', type: 'spki' });
  return {
    publicKey: new Uint8Array(spki.subarray(-32)),
    sign: (message) => new Uint8Array(sign(null, message, key)),
  };
}

const SPKI = Buffer.from('302a300506032b6570032100', 'hex');
export const testVerify: Verify = (publicKey, message, signature) => {
  const key = createPublicKey({ key: Buffer.concat([SPKI, publicKey]), format: 'der', type: 'spki' });
  return verify(null, message, key, signature);
};
