/** Keys and certificates of a device: Ed25519 for reports, P-256 with a PKCS#10 request for TLS. */
import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  randomBytes,
  webcrypto,
  X509Certificate,
} from 'node:crypto';
import { SkeinError } from '@skein/protocol/errors.ts';
import { nativeSigner } from '../system-clock.ts';
import type { CertificateDates, IdentityKeys } from './identity.ts';

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;

const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

/** The request's library is loaded here: it is needed once a year. */
async function newTlsKey(): Promise<{ tlsKey: string; csr: string }> {
  await import('reflect-metadata');
  const x509 = await import('@peculiar/x509');
  x509.cryptoProvider.set(webcrypto as never);
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const tlsKey = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
  const pkcs8 = privateKey.export({ type: 'pkcs8', format: 'der' });
  const spki = createPublicKey(privateKey).export({ type: 'spki', format: 'der' });
  const keys = {
    privateKey: await webcrypto.subtle.importKey('pkcs8', pkcs8, ALGORITHM, false, ['sign']),
    publicKey: await webcrypto.subtle.importKey('spki', spki, ALGORITHM, true, ['verify']),
  };
  const request = await x509.Pkcs10CertificateRequestGenerator.create({
    name: 'CN=device',
    keys: keys as never,
    signingAlgorithm: ALGORITHM,
  });
  return { tlsKey, csr: request.toString('pem') };
}

const datesOf = (certificate: string): CertificateDates => {
  const { validFrom, validTo } = new X509Certificate(certificate);
  return { notBefore: Date.parse(validFrom), notAfter: Date.parse(validTo) };
};

const untrusted = (why: string, cause?: unknown): SkeinError =>
  new SkeinError('SERVER_NOT_TRUSTED', `the certificate that the server issued ${why}`, {
    cause,
    fix: 'Enrol again with a new token; if this persists, look at who answers at this address.',
  });

function checkIssued(issued: {
  certificate: string;
  ca: string;
  tlsKey: string;
  device: string;
}): CertificateDates {
  let certificate: X509Certificate;
  let ca: X509Certificate;
  try {
    certificate = new X509Certificate(issued.certificate);
    ca = new X509Certificate(issued.ca);
  } catch (cause) {
    throw untrusted('cannot be read', cause);
  }
  if (!certificate.checkPrivateKey(createPrivateKey(issued.tlsKey))) throw untrusted('is for another key');
  if (!certificate.checkIssued(ca) || !certificate.verify(ca.publicKey))
    throw untrusted('is from another CA');
  if (!certificate.subject.split('\n').includes(`CN=${issued.device}`))
    throw untrusted(`does not name ${issued.device}`);
  return datesOf(issued.certificate);
}

export const x509Identity: IdentityKeys = {
  newTlsKey,
  newReportKey() {
    const seed = new Uint8Array(randomBytes(32));
    return { seed: hexOf(seed), publicKey: hexOf(nativeSigner(seed).publicKey) };
  },
  checkIssued,
  datesOf,
  signRenewal: (seed, bytes) => hexOf(nativeSigner(Buffer.from(seed, 'hex')).sign(bytes)),
};
