/** Opens listening sockets, and says which port and which setting when one is taken. */
import type { AddressInfo, Server } from 'node:net';
import { SkeinError } from '@skein/protocol/errors.ts';

/**
 * TLS sessions may be resumed for two days, by ticket: a device that comes back saves more than half of a handshake. Whether
 * it may still connect is asked at every connection all the same.
 */
export const RESUMABLE = { sessionTimeout: 2 * 24 * 3600 };

export interface Endpoint {
  host: string;
  /** 0: a free one. */
  port: number;
  /** The environment variable that moves it. */
  variable: string;
}

/** Resolves with the port it listens on. @throws SkeinError PORT_IN_USE, CONFIG_INVALID */
export function listenOn(server: Server, endpoint: Endpoint): Promise<number> {
  return new Promise((resolve, reject) => {
    const fail = (cause: NodeJS.ErrnoException) => reject(describeListenError(cause, endpoint));
    server.once('error', fail);
    server.listen(endpoint.port, endpoint.host, () => {
      server.off('error', fail);
      resolve((server.address() as AddressInfo).port);
    });
  });
}

export function describeListenError(cause: NodeJS.ErrnoException, endpoint: Endpoint): SkeinError {
  const { host, port, variable } = endpoint;
  if (cause.code === 'EADDRINUSE') {
    return new SkeinError('PORT_IN_USE', `port ${port} on ${host} is in use (${variable})`, {
      cause,
      fix: `Stop what uses it, or set ${variable} to another port (0 picks a free one).`,
      data: { port, variable },
    });
  }
  return new SkeinError(
    'CONFIG_INVALID',
    `can not listen on ${host}:${port} (${variable}): ${cause.message}`,
    {
      cause,
      fix:
        cause.code === 'EACCES'
          ? `Ports below 1024 need rights; set ${variable}.`
          : `Check the host and ${variable}.`,
      data: { port, variable },
    },
  );
}
