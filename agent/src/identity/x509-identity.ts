/** Keys and certificates of a device: Ed25519 for reports, P-256 with a PKCS#10 request for TLS. */
import { createPrivateKey, randomBytes, X509Certificate } from 'node:crypto';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Millis } from '@skein/protocol/units.ts';
import { nativeSigner } from '../system-clock.ts';
import type { CertificateDates, Identity, IdentityKeys } from './identity.ts';

const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

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

/** The clock may have been ahead at enrolment, or in 1970: the certificate and the CA know better. */
export const enrolledFrom = ({ ca, certificate, enrolledAt }: Identity): Millis =>
  Math.max(datesOf(ca).notBefore, Math.min(enrolledAt, datesOf(certificate).notBefore));

export const x509Identity: IdentityKeys = {
  /** The request's library is loaded here: it is needed once a year. */
  newTlsKey: async () => (await import('./x509-request.ts')).newTlsKey(),
  newReportKey() {
    const seed = new Uint8Array(randomBytes(32));
    return { seed: hexOf(seed), publicKey: hexOf(nativeSigner(seed).publicKey) };
  },
  checkIssued,
  datesOf,
  signRenewal: (seed, bytes) => hexOf(nativeSigner(Buffer.from(seed, 'hex')).sign(bytes)),
};
