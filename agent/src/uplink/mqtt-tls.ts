/** TLS to the broker: node:tls's own verdict, or below the time floor ours (identity/http-tls.ts). */
import { connectAt, type TlsTrust } from '../identity/http-tls.ts';
import type { MqttTls } from './mqtt-link.ts';

export function brokerTls(mqttUrl: string, { ca, certificate: cert, key, verifyAt }: TlsTrust): MqttTls {
  if (verifyAt === undefined) return { ca, cert, key };
  const { hostname, port } = new URL(mqttUrl);
  // An address of IPv6 stands in brackets there.
  const where = { host: hostname.replace(/^\[|\]$/g, ''), port: Number(port || 8883), ca, cert, key };
  return { ca, socket: () => connectAt(where, ca, verifyAt) };
}
