import type { Millis } from '@skein/protocol/units.ts';

export interface IssuedCertificate {
  /** PEM. */
  certificate: string;
  /** Lower-case hex. */
  serial: string;
  notAfter: Millis;
}

/** The fleet's certificate authority: it turns a device's request into a client certificate. */
export interface CertificateAuthority {
  /** PEM text; what claim tokens vouch for. */
  readonly ca: string;
  /** Common name = `device`, client authentication, one year. @throws SkeinError REQUEST_INVALID (bad CSR, wrong key kind, no proof of possession) */
  signDevice(csr: string, device: string): Promise<IssuedCertificate>;
}

/** PEM texts of a TLS server that asks its clients for certificates of the fleet. */
export interface ServerTls {
  key: string;
  cert: string;
  ca: string;
}

/** The authority at the server, which also needs a certificate of its own. */
export interface ServerAuthority extends CertificateAuthority {
  /** Good for these host names or addresses; the one at hand while it still serves. */
  serverTls(hosts: readonly string[]): Promise<ServerTls>;
}
