/**
 * The devices' port: HTTPS with the fleet's own CA. A client certificate is asked for but only demanded by routes of
 * role `device`, since enrolling and renewing must work without one. Certificates of revoked or unknown devices are
 * refused even while they are valid.
 */
import type { TLSSocket, Server as TlsServer } from 'node:tls';
import type { FastifyRequest } from 'fastify';
import type { ServerTls } from '../fleet/authority.ts';
import { type Endpoint, RESUMABLE } from '../tcp-listen.ts';
import { createApp, type HttpDeps, type HttpPort, listenApp, registerRoutes } from './server.ts';

export interface DevicePortDeps extends HttpDeps {
  mayConnect(device: string): Promise<boolean>;
}

export interface DevicePort extends HttpPort {
  /** After the server's certificate was issued anew. */
  useCertificate(tls: ServerTls): void;
}

export async function openDevicePort(
  deps: DevicePortDeps,
  tls: ServerTls,
  endpoint: Endpoint,
): Promise<DevicePort> {
  const asked = { requestCert: true, rejectUnauthorized: false, minVersion: 'TLSv1.2' } as const;
  const app = createApp({ ...tls, ...asked, ...RESUMABLE });
  registerRoutes(app, 'device', deps, {
    async identify(request) {
      const device = certifiedDevice(request);
      if (device === undefined || !(await deps.mayConnect(device))) return {};
      return { device, actor: { name: `device:${device}`, role: 'viewer' } };
    },
  });
  const open = await listenApp(app, endpoint);
  return {
    ...open,
    useCertificate: (next) =>
      (app.server as unknown as TlsServer).setSecureContext({ ...next, ...RESUMABLE }),
  };
}

/** The common name of a certificate that our CA signed and that is valid now. */
function certifiedDevice({ raw }: FastifyRequest): string | undefined {
  const socket = raw.socket as TLSSocket;
  if (!socket.authorized) return undefined;
  const name = socket.getPeerCertificate().subject?.CN;
  return typeof name === 'string' ? name : undefined;
}
