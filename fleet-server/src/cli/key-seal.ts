/**
 * A private key under a passphrase: ChaCha20-Poly1305 under scrypt (N 2¹⁷, r 8, p 1: about 0.4 s and 128 MiB a guess),
 * bound to the key's role and public half.
 */
import { createCipheriv, createDecipheriv, randomBytes, scryptSync } from 'node:crypto';
import { strict } from '@skein/protocol/schema.ts';
import { type Static, Type } from 'typebox';

const SCRYPT_N = 2 ** 17;

export const hex = (bytes: number) => Type.String({ pattern: `^[0-9a-f]{${bytes * 2}}$` });

export const Sealed = strict({
  n: Type.Integer({ minimum: 2, maximum: 2 ** 20 }),
  salt: hex(16),
  nonce: hex(12),
  box: hex(48),
});
export type Sealed = Static<typeof Sealed>;

/** What the seal is bound to. */
export interface Head {
  format: 1;
  role: string;
  public: string;
}

export interface Derivation {
  /** Salt for keys that are made now. */
  readonly salt: Buffer;
  /** The 32-byte key of a passphrase; remembered, because scrypt is slow on purpose. */
  derive(passphrase: string, salt: Buffer, n: number): Buffer;
}

export function createDerivation(): Derivation {
  let last: { passphrase: string; salt: string; n: number; key: Buffer } | undefined;
  return {
    salt: randomBytes(16),
    derive(passphrase, salt, n) {
      const given = { passphrase: passphrase.normalize('NFKC'), salt: salt.toString('hex'), n };
      if (last?.passphrase === given.passphrase && last.salt === given.salt && last.n === n) return last.key;
      const key = scryptSync(given.passphrase, salt, 32, { N: n, r: 8, p: 1, maxmem: 256 * n * 8 });
      last = { ...given, key };
      return key;
    },
  };
}

const boundTo = ({ format, role, public: key }: Head) => Buffer.from(`skein-key-${format} ${role} ${key}`);

/** The salt may be that of other keys under the same passphrase; the nonce never is. */
export function seal(seed: Buffer, head: Head, passphrase: string, { salt, derive }: Derivation): Sealed {
  const nonce = randomBytes(12);
  const key = derive(passphrase, salt, SCRYPT_N);
  const cipher = createCipheriv('chacha20-poly1305', key, nonce, { authTagLength: 16 });
  cipher.setAAD(boundTo(head), { plaintextLength: seed.length });
  const box = Buffer.concat([cipher.update(seed), cipher.final(), cipher.getAuthTag()]);
  return { n: SCRYPT_N, salt: salt.toString('hex'), nonce: nonce.toString('hex'), box: box.toString('hex') };
}

export function unseal(head: Head, sealed: Sealed, passphrase: string, { derive }: Derivation): Buffer {
  const [salt, nonce, box] = [sealed.salt, sealed.nonce, sealed.box].map((text) => Buffer.from(text, 'hex'));
  const key = derive(passphrase, salt!, sealed.n);
  const decipher = createDecipheriv('chacha20-poly1305', key, nonce!, { authTagLength: 16 });
  decipher.setAAD(boundTo(head), { plaintextLength: 32 });
  decipher.setAuthTag(box!.subarray(32));
  return Buffer.concat([decipher.update(box!.subarray(0, 32)), decipher.final()]);
}
