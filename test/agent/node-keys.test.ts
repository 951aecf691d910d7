import { constants, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { nodeKeys } from '@skein/agent/node-keys.ts';
import type { TufKey } from '@skein/protocol/trust/metadata.ts';
import { keyIdOfKey } from '@skein/protocol/trust/signatures.ts';
import { describe, expect, it } from 'vitest';
import { hex, signerOf } from '../protocol/trust/simulated-repository.ts';

const message = Buffer.from('{"_type":"root"}');
const pem = (key: KeyObject) => key.export({ type: 'spki', format: 'pem' }) as string;
const rsaKey = (text: string): TufKey => ({
  keytype: 'rsa',
  scheme: 'rsassa-pss-sha256',
  keyval: { public: text },
});
const ecdsaKey = (text: string): TufKey => ({
  keytype: 'ecdsa',
  scheme: 'ecdsa-sha2-nistp256',
  keyval: { public: text },
});

const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const pss = (saltLength: number) =>
  sign('sha256', message, { key: rsa.privateKey, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength });
const flipped = (bytes: Buffer) => {
  const copy = Buffer.from(bytes);
  copy[copy.length >> 1]! ^= 1;
  return copy;
};

describe('RSA keys', () => {
  const key = nodeKeys(rsaKey(pem(rsa.publicKey)))!;

  it.each([0, 32, 222])('verify PSS with a salt of %i bytes', (salt) => {
    expect(key.verify(message, pss(salt))).toBe(true);
    expect(key.verify(message, flipped(pss(salt)))).toBe(false);
    expect(key.verify(Buffer.from('other'), pss(salt))).toBe(false);
  });

  it('verify neither PKCS #1 v1.5 nor another hash', () => {
    expect(key.verify(message, sign('sha256', message, rsa.privateKey))).toBe(false);
    const options = { key: rsa.privateKey, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 };
    expect(key.verify(message, sign('sha512', message, options))).toBe(false);
  });

  it('are refused below 2048 bits', () => {
    const { publicKey } = generateKeyPairSync('rsa', { modulusLength: 1024 });
    expect(nodeKeys(rsaKey(pem(publicKey)))).toBeUndefined();
  });
});

describe('ECDSA keys', () => {
  const key = nodeKeys(ecdsaKey(pem(ec.publicKey)))!;

  it('verify DER signatures over SHA-256', () => {
    const signature = sign('sha256', message, ec.privateKey);
    expect(key.verify(message, signature)).toBe(true);
    expect(key.verify(message, flipped(signature))).toBe(false);
    expect(key.verify(message, sign('sha384', message, ec.privateKey))).toBe(false);
    const raw = sign('sha256', message, { key: ec.privateKey, dsaEncoding: 'ieee-p1363' });
    expect(key.verify(message, raw)).toBe(false);
  });

  it.each(['P-384', 'secp256k1'])('of the curve %s are refused', (namedCurve) => {
    expect(nodeKeys(ecdsaKey(pem(generateKeyPairSync('ec', { namedCurve }).publicKey)))).toBeUndefined();
  });
});

describe('one key', () => {
  it('is one key however its PEM is broken into lines', () => {
    const text = pem(rsa.publicKey);
    const body = text.replace(/-----[^-]+-----|\s/g, '');
    const other = `-----BEGIN PUBLIC KEY-----\r\n${body}\r\n-----END PUBLIC KEY-----`;
    expect(nodeKeys(rsaKey(other))!.identity).toBe(nodeKeys(rsaKey(text))!.identity);
    expect(keyIdOfKey(rsaKey(other))).not.toBe(keyIdOfKey(rsaKey(text)));
  });

  it('is one key with its point compressed', () => {
    const der = ec.publicKey.export({ type: 'spki', format: 'der' });
    const point = der.subarray(-65);
    const [x, odd] = [point.subarray(1, 33), point[64]! & 1];
    const short = Buffer.from(der.subarray(0, -66));
    short[1]! -= 32;
    short[short.length - 1]! -= 32;
    const compressed = Buffer.concat([short, Buffer.of(0, 2 + odd), x]);
    const text = `-----BEGIN PUBLIC KEY-----\n${compressed.toString('base64')}\n-----END PUBLIC KEY-----\n`;
    expect(nodeKeys(ecdsaKey(text))?.identity).toBe(nodeKeys(ecdsaKey(pem(ec.publicKey)))!.identity);
  });

  it('is not another kind of key', () => {
    const ed25519 = nodeKeys({
      keytype: 'ed25519',
      scheme: 'ed25519',
      keyval: { public: hex(signerOf('a').publicKey) },
    });
    const identities = [
      ed25519?.identity,
      ...[rsaKey(pem(rsa.publicKey)), ecdsaKey(pem(ec.publicKey))].map((k) => nodeKeys(k)?.identity),
    ];
    expect(new Set(identities).size).toBe(3);
    expect(identities).not.toContain(undefined);
  });
});

describe('what is no public key of its scheme', () => {
  const privatePem = ec.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string;
  const pkcs1 = rsa.publicKey.export({ type: 'pkcs1', format: 'pem' }) as string;
  it.each<[string, TufKey]>([
    ['an EC key under RSA', rsaKey(pem(ec.publicKey))],
    ['an RSA key under ECDSA', ecdsaKey(pem(rsa.publicKey))],
    ['a private key', ecdsaKey(privatePem)],
    ['an RSA key in PKCS #1', rsaKey(pkcs1)],
    ['two keys', rsaKey(pem(rsa.publicKey).repeat(2))],
    ['nothing', rsaKey('')],
    ['no text', { ...rsaKey(''), keyval: {} }],
    ['rubbish in PEM', ecdsaKey('-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n')],
    ['a scheme that is not TUF’s', { ...rsaKey(pem(rsa.publicKey)), scheme: 'rsa-pkcs1v15-sha256' }],
    ['a key type that is not TUF’s', { ...ecdsaKey(pem(ec.publicKey)), keytype: 'sigstore-oidc' }],
    ['Ed25519 in PEM', { keytype: 'ed25519', scheme: 'ed25519', keyval: { public: pem(ec.publicKey) } }],
  ])('is answered with no: %s', (_, key) => {
    expect(nodeKeys(key)).toBeUndefined();
  });
});
