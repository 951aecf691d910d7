/**
 * TLS to the broker: node:tls's own verdict, or below the time floor ours (identity/http-tls.ts).
 *
 * Reconnects resume the session of before, which saves both certificates and their signatures. A ticket that a broker
 * chokes on costs one attempt; it is forgotten when certificate or CA change, for a resumed session proves only what was
 * proven then. It is kept in memory alone: who reads it could speak for this device.
 *
 * The parsed certificates are kept as well: made anew at each try, they hold megabytes outside the heap until a full
 * collection, which a device that is offline and idle does not come to for days.
 */
import { createSecureContext, type SecureContext } from 'node:tls';
import { connectAt, sameTrust, type TlsTrust } from '../identity/http-tls.ts';
import type { MqttTls } from './mqtt-link.ts';

interface Kept {
  trust: TlsTrust;
  secureContext: SecureContext;
  session?: Buffer;
}

export function brokerTls(mqttUrl: string, trust: () => TlsTrust): () => MqttTls {
  let kept: Kept | undefined;
  return () => {
    const now = trust();
    const { ca, certificate: cert, key, verifyAt } = now;
    if (verifyAt !== undefined) return { ca, socket: () => connectAt(addressOf(mqttUrl, now), ca, verifyAt) };
    const mine = kept && sameTrust(kept.trust, now) ? kept : { trust: now, secureContext: contextOf(now) };
    kept = mine;
    return {
      ...{ ca, cert, key, secureContext: mine.secureContext, session: mine.session },
      tickets: {
        taken: () => delete mine.session,
        given: (session) => (mine.session = session),
      },
    };
  };
}

const contextOf = ({ ca, certificate: cert, key, curves }: TlsTrust): SecureContext =>
  createSecureContext({ ca, cert, key, ...(curves === undefined ? {} : { ecdhCurve: curves }) });

function addressOf(mqttUrl: string, { ca, certificate: cert, key }: TlsTrust) {
  const { hostname, port } = new URL(mqttUrl);
  // An address of IPv6 stands in brackets there.
  return { host: hostname.replace(/^\[|\]$/g, ''), port: Number(port || 8883), ca, cert, key };
}
