/**
 * Whom a device trusts on its TLS connections.
 *
 * Clockless boot: with a clock before the certificate's start OpenSSL reports CERT_NOT_YET_VALID for the right CA and for
 * an attacker's alike, because the time error hides the chain error. So while the wall clock is behind the floor
 * (the highest time this device has reason to believe) the chain is checked here, at the floor, and the handshake's
 * own verdict is not used; otherwise the handshake decides.
 */
import { X509Certificate } from 'node:crypto';
import { Agent } from 'node:https';
import { isIP } from 'node:net';
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Millis } from '@skein/protocol/units.ts';

export interface TlsTrust {
  ca: string;
  certificate?: string;
  key?: string;
  /** Check the server at this time instead of now; undefined while the clock is believable. */
  verifyAt?: Millis;
}

/** What is wrong with a server's certificate at time `at`, or undefined. One level below the CA, as ours is. */
export function serverProblem(
  leaf: X509Certificate,
  caPem: string,
  host: string,
  at: Millis,
): string | undefined {
  const ca = new X509Certificate(caPem);
  if (!leaf.checkIssued(ca) || !leaf.verify(ca.publicKey)) return 'it is not from the fleet’s CA';
  const named = isIP(host) ? leaf.checkIP(host) : leaf.checkHost(host);
  if (!named) return `it does not name ${host}`;
  if (leaf.ca) return 'it is a CA certificate';
  for (const certificate of [leaf, ca])
    if (at < Date.parse(certificate.validFrom) || at > Date.parse(certificate.validTo))
      return 'it is not valid now';
  return undefined;
}

/** Connects without asking OpenSSL for its verdict, and checks the chain at `at` before anyone gets the socket. */
export function connectAt(options: ConnectionOptions, ca: string, at: Millis): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ ...options, rejectUnauthorized: false });
    socket.once('error', reject);
    socket.once('secureConnect', () => {
      const leaf = socket.getPeerX509Certificate();
      const problem = leaf ? serverProblem(leaf, ca, options.host ?? '', at) : 'there is none';
      if (problem) {
        socket.destroy();
        reject(new SkeinError('SERVER_NOT_TRUSTED', `the server’s certificate is refused: ${problem}`));
      } else resolve(socket);
    });
  });
}

/** Keeps connections; make a new one when the trust changes. */
export function tlsAgent(trust: TlsTrust): Agent {
  const agent = new Agent({
    keepAlive: true,
    maxSockets: 4,
    ca: trust.ca,
    cert: trust.certificate,
    key: trust.key,
    minVersion: 'TLSv1.2',
  });
  const { verifyAt } = trust;
  if (verifyAt !== undefined)
    agent.createConnection = ((
      options: ConnectionOptions,
      done: (error: Error | null, socket?: TLSSocket) => void,
    ) => {
      const { ca, certificate: cert, key } = trust;
      const host = options.servername || options.host;
      connectAt({ ...options, ...(host ? { host } : {}), ca, cert, key }, trust.ca, verifyAt).then(
        (socket) => done(null, socket),
        done,
      );
      return undefined;
    }) as never;
  return agent;
}

/** For the first look at a server before enrolment: nothing that comes from it is believed. */
export const blindAgent = (): Agent => new Agent({ rejectUnauthorized: false });
