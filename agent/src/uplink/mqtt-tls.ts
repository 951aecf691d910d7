/**
 * TLS to the broker: node:tls's own verdict, or below the time floor ours (identity/http-tls.ts).
 *
 * Reconnects resume the session of before, which saves both certificates and their signatures. A ticket that a broker
 * chokes on costs one attempt; it is forgotten when certificate or CA change, for a resumed session proves only what was
 * proven then. It is kept in memory alone: who reads it could speak for this device.
 */
import { connectAt, sameTrust, type TlsTrust } from '../identity/http-tls.ts';
import type { MqttTls } from './mqtt-link.ts';

export function brokerTls(mqttUrl: string, trust: () => TlsTrust): () => MqttTls {
  let kept: { trust: TlsTrust; session: Buffer } | undefined;
  return () => {
    const now = trust();
    const { ca, certificate: cert, key, curves, verifyAt } = now;
    if (kept && !sameTrust(kept.trust, now)) kept = undefined;
    if (verifyAt !== undefined) return { ca, socket: () => connectAt(addressOf(mqttUrl, now), ca, verifyAt) };
    return {
      ...{ ca, cert, key, session: kept?.session },
      ...(curves === undefined ? {} : { ecdhCurve: curves }),
      tickets: {
        taken: () => (kept = undefined),
        given: (session) => (kept = { trust: now, session }),
      },
    };
  };
}

function addressOf(mqttUrl: string, { ca, certificate: cert, key }: TlsTrust) {
  const { hostname, port } = new URL(mqttUrl);
  // An address of IPv6 stands in brackets there.
  return { host: hostname.replace(/^\[|\]$/g, ''), port: Number(port || 8883), ca, cert, key };
}
