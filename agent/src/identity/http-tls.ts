/**
 * Whom a device trusts on its TLS connections.
 *
 * Clockless boot: with a clock before the certificate's start OpenSSL reports CERT_NOT_YET_VALID for the right CA and for
 * an attacker's alike, because the time error hides the chain error. So while the wall clock is behind the floor
 * (the highest time this device has reason to believe) the chain is checked here, at the floor, and the handshake's
 * own verdict is not used; otherwise the handshake decides.
 *
 * The floor says that it is at least so late, not how late it is: what ended before it is over, what begins after it
 * may have begun. A server that was given a new certificate since is not locked out.
 */
import { X509Certificate } from 'node:crypto';
import { Agent } from 'node:https';
import { isIP } from 'node:net';
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Clock } from '@skein/protocol/ports.ts';
import type { Millis } from '@skein/protocol/units.ts';

/** Over a metered link: the hybrid post-quantum exchange that Node prefers takes 2.3 KB more for each handshake. */
export const SMALL_CURVES = 'X25519:P-256';

export interface TlsTrust {
  ca: string;
  certificate?: string;
  key?: string;
  /** Key exchanges to offer; the runtime's own choice, the largest, when absent. */
  curves?: string;
  /** Check the server at this time instead of now; undefined while the clock is believable. */
  verifyAt?: Millis;
}

/** `{verifyAt}` while the clock is behind the floor. */
export const believable = (now: Millis, floor: Millis): Pick<TlsTrust, 'verifyAt'> =>
  now < floor ? { verifyAt: floor } : {};

/** It is never earlier than when the CA that a claim token vouches for was made. */
export const startOf = (caPem: string): Millis => Date.parse(new X509Certificate(caPem).validFrom);

/** Extended key usage, RFC 5280 4.2.1.12: what the fleet's CA issues to its server and to no device. */
const SERVER_AUTH = '1.3.6.1.5.5.7.3.1';

/**
 * What is wrong with a server's certificate when it is at least as late as `at`, or undefined. One level below the CA,
 * as ours is.
 */
export function serverProblem(
  leaf: X509Certificate,
  caPem: string,
  host: string,
  at: Millis,
): string | undefined {
  const problem = memberProblem(leaf, caPem, at);
  if (problem) return problem;
  if (!leaf.keyUsage?.includes(SERVER_AUTH)) return 'it is not a server’s';
  const named = isIP(host) ? leaf.checkIP(host) : leaf.checkHost(host);
  return named ? undefined : `it does not name ${host}`;
}

/** The same for any member of the fleet, a device or the server: whose it is does not matter. */
export function memberProblem(leaf: X509Certificate, caPem: string, at: Millis): string | undefined {
  const ca = new X509Certificate(caPem);
  if (!leaf.checkIssued(ca) || !leaf.verify(ca.publicKey)) return 'it is not from the fleet’s CA';
  if (leaf.ca) return 'it is a CA certificate';
  return [leaf, ca].some(({ validTo }) => at > Date.parse(validTo)) ? 'it has expired' : undefined;
}

/** A peer that takes the connection and then says nothing, or lets its handshake trickle. */
const HANDSHAKE_MS: Millis = 15_000;

/** Connects without asking OpenSSL for its verdict, and has the certificate judged before anyone gets the socket. */
export function connectJudged(
  options: ConnectionOptions,
  problemOf: (leaf: X509Certificate) => string | undefined,
  withinMs = HANDSHAKE_MS,
): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ ...options, rejectUnauthorized: false });
    const silent = () => socket.destroy(new Error(`no handshake within ${withinMs / 1000} s`));
    const late = setTimeout(silent, withinMs);
    for (const over of ['secureConnect', 'close']) socket.once(over, () => clearTimeout(late));
    socket.once('error', reject);
    socket.once('secureConnect', () => {
      const leaf = socket.getPeerX509Certificate();
      const problem = leaf ? problemOf(leaf) : 'there is none';
      if (problem) {
        socket.destroy();
        reject(new SkeinError('SERVER_NOT_TRUSTED', `the server’s certificate is refused: ${problem}`));
      } else resolve(socket);
    });
  });
}

/** As a client of the server, at a time that is believed. */
export const connectAt = (options: ConnectionOptions, ca: string, at: Millis): Promise<TLSSocket> =>
  connectJudged(options, (leaf) => serverProblem(leaf, ca, options.host ?? '', at));

/** Keeps connections; make a new one when the trust changes. */
export function tlsAgent(trust: TlsTrust): Agent {
  const agent = new Agent({
    keepAlive: true,
    maxSockets: 4,
    ca: trust.ca,
    cert: trust.certificate,
    key: trust.key,
    ...(trust.curves === undefined ? {} : { ecdhCurve: trust.curves }),
    minVersion: 'TLSv1.2',
  });
  const { verifyAt } = trust;
  if (verifyAt !== undefined)
    judge(agent, trust, (leaf, host) => serverProblem(leaf, trust.ca, host, verifyAt));
  return agent;
}

/** For connections to other devices of the fleet, whose certificates name no host. */
export function memberAgent(trust: TlsTrust, clock: Pick<Clock, 'now'>): Agent {
  const { ca, verifyAt } = trust;
  const agent = new Agent({ keepAlive: true, maxSockets: 4, minVersion: 'TLSv1.2' });
  judge(agent, trust, (leaf) => memberProblem(leaf, ca, verifyAt ?? clock.now()));
  return agent;
}

function judge(
  agent: Agent,
  { ca, certificate: cert, key }: TlsTrust,
  problemOf: (leaf: X509Certificate, host: string) => string | undefined,
): void {
  agent.createConnection = ((
    options: ConnectionOptions,
    done: (error: Error | null, socket?: TLSSocket) => void,
  ) => {
    const host = options.servername || options.host || '';
    const to = { ...options, ...(host ? { host } : {}), ca, cert, key };
    connectJudged(to, (leaf) => problemOf(leaf, host)).then((socket) => done(null, socket), done);
    return undefined;
  }) as never;
}

export const sameTrust = (a: TlsTrust, b: TlsTrust): boolean =>
  a.ca === b.ca &&
  a.certificate === b.certificate &&
  (a.verifyAt === undefined) === (b.verifyAt === undefined);

/** For the first look at a server before enrolment: nothing that comes from it is believed. */
export const blindAgent = (): Agent => new Agent({ rejectUnauthorized: false });
