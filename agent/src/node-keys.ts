/**
 * The key types that TUF 1.0.34 describes (clause 4.2), by node:crypto: Ed25519, RSA (rsassa-pss-sha256, at least 2048
 * bits) and ECDSA (ecdsa-sha2-nistp256). RSA and ECDSA keys are SubjectPublicKeyInfo in PEM; the identity of a key is
 * taken from its numbers, so neither line breaks nor a compressed point make a second key of it.
 */
import { constants, createPublicKey, type KeyObject, verify } from 'node:crypto';
import type { TufKey } from '@skein/protocol/trust/metadata.ts';
import { ed25519Keys, type PublicKey, type ReadKey } from '@skein/protocol/trust/signatures.ts';
import { nativeVerify } from './system-clock.ts';

const PEM = /^-----BEGIN PUBLIC KEY-----\s([A-Za-z0-9+/=\s]+)-----END PUBLIC KEY-----\s*$/;
const MIN_RSA_BITS = 2048;
/** Bounds what one signature may cost. */
const MAX_RSA_BITS = 16384;

const ed25519 = ed25519Keys(nativeVerify);

export const nodeKeys: ReadKey = (key) => {
  if (key.keytype === 'rsa' && key.scheme === 'rsassa-pss-sha256') return readPem(key, rsa);
  if (key.keytype === 'ecdsa' && key.scheme === 'ecdsa-sha2-nistp256') return readPem(key, ecdsa);
  return ed25519(key);
};

function readPem(key: TufKey, make: (key: KeyObject) => PublicKey | undefined): PublicKey | undefined {
  const [, base64] = PEM.exec(key.keyval.public ?? '') ?? [];
  if (!base64) return undefined;
  try {
    return make(createPublicKey({ key: Buffer.from(base64, 'base64'), format: 'der', type: 'spki' }));
  } catch {
    return undefined;
  }
}

/** RFC 3447: MGF1 with the same hash; signers choose the length of the salt. */
const PSS = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_AUTO };

function rsa(key: KeyObject): PublicKey | undefined {
  const bits = key.asymmetricKeyDetails?.modulusLength ?? 0;
  if (key.asymmetricKeyType !== 'rsa' || bits < MIN_RSA_BITS || bits > MAX_RSA_BITS) return undefined;
  const { n, e } = key.export({ format: 'jwk' });
  return { identity: `rsa ${n} ${e}`, verify: (...signed) => verified({ key, ...PSS }, ...signed) };
}

function ecdsa(key: KeyObject): PublicKey | undefined {
  if (key.asymmetricKeyType !== 'ec' || key.asymmetricKeyDetails?.namedCurve !== 'prime256v1')
    return undefined;
  const { x, y } = key.export({ format: 'jwk' });
  return {
    identity: `p256 ${x} ${y}`,
    verify: (...signed) => verified({ key, dsaEncoding: 'der' }, ...signed),
  };
}

type VerifyKey = Parameters<typeof verify>[2];

function verified(key: VerifyKey, message: Uint8Array, signature: Uint8Array): boolean {
  try {
    return verify('sha256', message, key, signature);
  } catch {
    return false;
  }
}
