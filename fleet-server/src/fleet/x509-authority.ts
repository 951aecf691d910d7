/**
 * The fleet's own CA on disk: P-256, made at first start, private keys mode 0600.
 * `ca.pem` `ca.key` (20 years) and `server.pem` `server.key` (1 year; issued anew when the host names change or
 * two thirds of its life are over). A device certificate names exactly one device and may only be a TLS client.
 */
import 'reflect-metadata';
import { randomBytes, webcrypto } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { join } from 'node:path';
import * as x509 from '@peculiar/x509';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Clock } from '@skein/protocol/ports.ts';
import { DAY, type Millis } from '@skein/protocol/units.ts';
import type { IssuedCertificate, ServerAuthority } from './authority.ts';

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const CA_LIFE: Millis = 20 * 365 * DAY;
const LIFE: Millis = 365 * DAY;
/** Devices whose clock is a little behind must not refuse a certificate just issued. */
const BACKDATE: Millis = DAY;
const RENEW_AFTER = 2 / 3;

export type X509Authority = ServerAuthority;

export async function openX509Authority(folder: string, clock: Clock): Promise<X509Authority> {
  x509.cryptoProvider.set(webcrypto as never);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const certificatePath = join(folder, 'ca.pem');
  if (!existsSync(certificatePath)) await createCa(folder, clock);
  const ca = readFileSync(certificatePath, 'utf8');
  const certificate = new x509.X509Certificate(ca);
  const key = await importKey(readFileSync(join(folder, 'ca.key'), 'utf8'));
  const issuer: Issuer = { certificate, key, clock };
  return {
    ca,
    signDevice: (csr, device) => signDevice(issuer, csr, device),
    async serverTls(hosts) {
      const kept = keptServerTls(folder, hosts, clock);
      return { ...(kept ?? (await issueServerTls(issuer, folder, hosts))), ca };
    },
  };
}

interface Issuer {
  certificate: x509.X509Certificate;
  key: webcrypto.CryptoKey;
  clock: Clock;
}

async function createCa(folder: string, clock: Clock): Promise<void> {
  const keys = await newKeys();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: newSerial(),
    name: [{ CN: ['Skein fleet CA'] }, { O: [randomBytes(6).toString('hex')] }],
    ...validity(clock, CA_LIFE),
    signingAlgorithm: ALGORITHM,
    keys: keys as never,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey as never),
    ],
  });
  await writeKey(join(folder, 'ca.key'), keys.privateKey);
  writeWhole(join(folder, 'ca.pem'), `${certificate.toString('pem')}\n`, 0o644);
}

async function signDevice(issuer: Issuer, pem: string, device: string): Promise<IssuedCertificate> {
  const csr = await checkedRequest(pem);
  return issue(issuer, `CN=${device}`, csr.publicKey, [
    new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.clientAuth], true),
  ]);
}

/** Only the public key of a request is used: its names and extensions are whatever the peer liked. */
async function checkedRequest(pem: string): Promise<x509.Pkcs10CertificateRequest> {
  const refuse = (why: string, cause?: unknown) =>
    new SkeinError('REQUEST_INVALID', `the certificate request ${why}`, {
      cause,
      fix: 'The agent makes the request; update the agent if this persists.',
      data: { path: '/csr' },
    });
  let csr: x509.Pkcs10CertificateRequest;
  try {
    csr = new x509.Pkcs10CertificateRequest(pem);
  } catch (cause) {
    throw refuse('can not be read', cause);
  }
  const algorithm = csr.publicKey.algorithm as { name: string; namedCurve?: string };
  if (algorithm.name !== 'ECDSA' || algorithm.namedCurve !== 'P-256') throw refuse('must be for a P-256 key');
  if (!(await csr.verify().catch(() => false))) throw refuse('is not signed by its own key');
  return csr;
}

async function issueServerTls(issuer: Issuer, folder: string, hosts: readonly string[]) {
  const keys = await newKeys();
  const names = hosts.map((host) => new x509.GeneralName(isIP(host) ? 'ip' : 'dns', host));
  const { certificate } = await issue(issuer, 'CN=Skein fleet server', keys.publicKey, [
    new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth], true),
    new x509.SubjectAlternativeNameExtension(names),
  ]);
  await writeKey(join(folder, 'server.key'), keys.privateKey);
  writeWhole(join(folder, 'server.pem'), certificate, 0o644);
  return { key: readFileSync(join(folder, 'server.key'), 'utf8'), cert: certificate };
}

/** What is on disk, while it names all hosts, is ours and is younger than two thirds of its life. */
function keptServerTls(folder: string, hosts: readonly string[], clock: Clock) {
  try {
    const cert = readFileSync(join(folder, 'server.pem'), 'utf8');
    const key = readFileSync(join(folder, 'server.key'), 'utf8');
    const parsed = new x509.X509Certificate(cert);
    const names = parsed.getExtension(x509.SubjectAlternativeNameExtension)?.names.items.map((n) => n.value);
    const from = parsed.notBefore.getTime();
    const renewAt = from + (parsed.notAfter.getTime() - from) * RENEW_AFTER;
    const fits = hosts.every((host) => names?.includes(host)) && clock.now() < renewAt;
    return fits ? { key, cert } : undefined;
  } catch {
    return undefined;
  }
}

async function issue(
  issuer: Issuer,
  subject: string,
  publicKey: x509.PublicKeyType,
  extensions: x509.Extension[],
): Promise<IssuedCertificate> {
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: newSerial(),
    subject,
    issuer: issuer.certificate.subject,
    ...validity(issuer.clock, LIFE),
    signingAlgorithm: ALGORITHM,
    publicKey,
    signingKey: issuer.key as never,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      await x509.AuthorityKeyIdentifierExtension.create(issuer.certificate.publicKey),
      ...extensions,
    ],
  });
  return {
    certificate: `${certificate.toString('pem')}\n`,
    serial: certificate.serialNumber.toLowerCase(),
    notAfter: certificate.notAfter.getTime(),
  };
}

const validity = (clock: Clock, life: Millis) => ({
  notBefore: new Date(clock.now() - BACKDATE),
  notAfter: new Date(clock.now() + life),
});

/** 126 random bits, positive and without a leading zero byte (RFC 5280 4.1.2.2). */
function newSerial(): string {
  const bytes = randomBytes(16);
  bytes[0] = (bytes[0]! & 0x3f) | 0x40;
  return bytes.toString('hex');
}

const newKeys = () => webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);

const importKey = (pem: string) =>
  webcrypto.subtle.importKey('pkcs8', x509.PemConverter.decodeFirst(pem), ALGORITHM, false, ['sign']);

async function writeKey(path: string, key: webcrypto.CryptoKey): Promise<void> {
  const der = await webcrypto.subtle.exportKey('pkcs8', key);
  writeWhole(path, `${x509.PemConverter.encode(der, 'PRIVATE KEY')}\n`, 0o600);
}

/** Whole or not at all, and never readable by others in between. */
function writeWhole(path: string, text: string, mode: number): void {
  const part = `${path}.part`;
  writeFileSync(part, text, { mode });
  chmodSync(part, mode);
  renameSync(part, path);
}
