/** Who this device is. Kept in one file, so it is there whole or not at all. */
import { checker, strict } from '@skein/protocol/schema.ts';
import { ID_PATTERN } from '@skein/protocol/topics.ts';
import { type Bytes, MIB, type Millis } from '@skein/protocol/units.ts';
import { type Static, Type } from 'typebox';

export const MAX_IDENTITY_BYTES: Bytes = MIB;

const pem = Type.String({ maxLength: 65_536, pattern: '^-----BEGIN ' });

export const Identity = strict({
  format: Type.Literal(1),
  device: Type.String({ pattern: ID_PATTERN }),
  fleet: Type.String({ pattern: ID_PATTERN }),
  deviceUrl: Type.String({ pattern: '^https://', maxLength: 2048 }),
  mqttUrl: Type.String({ pattern: '^mqtts?://', maxLength: 2048 }),
  /** Ed25519 private key seed: it signs batches, reports and renewals. */
  reportSeed: Type.String({ pattern: '^[0-9a-f]{64}$' }),
  /** P-256 private key (PKCS#8) and its certificate, for TLS. */
  tlsKey: pem,
  certificate: pem,
  ca: pem,
  enrolledAt: Type.Number({ description: 'Also a floor for the clock: it was at least this late' }),
});
export type Identity = Static<typeof Identity>;

const received = checker(Identity, 'MESSAGE_INVALID', MAX_IDENTITY_BYTES);
/** What a server gave, before it is kept: it must be what can be read again. @throws SkeinError MESSAGE_INVALID */
export const soundIdentity = (identity: Identity): Identity =>
  received.check(identity, 'identity from the server');

export interface CertificateDates {
  notBefore: Millis;
  notAfter: Millis;
}

/** A certificate is renewed when two thirds of its life are over. */
export const renewalDueAt = ({ notBefore, notAfter }: CertificateDates): Millis =>
  notBefore + ((notAfter - notBefore) * 2) / 3;

export interface IdentityStore {
  /** undefined: not enrolled. @throws SkeinError DISK_FAILED when it is there and cannot be read or is damaged */
  load(): Identity | undefined;
  /** Durable when it returns. @throws SkeinError DISK_FULL, DISK_FAILED */
  save(identity: Identity): void;
}

/** Makes keys on the device and reads certificates. */
export interface IdentityKeys {
  /** A fresh P-256 key and a request signed with it; the server decides the names. */
  newTlsKey(): Promise<{ tlsKey: string; csr: string }>;
  newReportKey(): { seed: string; publicKey: string };
  /** @throws SkeinError SERVER_NOT_TRUSTED when it is not for this device, key and CA */
  checkIssued(issued: { certificate: string; ca: string; tlsKey: string; device: string }): CertificateDates;
  datesOf(certificate: string): CertificateDates;
  signRenewal(seed: string, bytes: Uint8Array): string;
}
