/**
 * The Open Inference Protocol over gRPC, for programs on this device: a port on loopback and, when configured, a Unix
 * socket. Listening costs nothing: the gRPC server itself (some 5 MB of memory) is loaded by the first connection.
 */
import { createServer, type Server, type Socket } from 'node:net';
import { SkeinError } from '@skein/protocol/errors.ts';
import { type Bytes, MIB, type Millis } from '@skein/protocol/units.ts';
import type { GrpcDeps, GrpcServer } from './grpc-server.ts';

const MAX_MESSAGE: Bytes = 16 * MIB;
const MAX_CONNECTIONS = 32;
/** For calls that are at work; each of the agent’s steps of stopping may take 900 ms. */
const GRACE_MS: Millis = 500;

export interface GrpcApi {
  /** `host:port`, as gRPC clients take it. */
  readonly address: string;
  close(): Promise<void>;
}

/** @throws SkeinError PORT_IN_USE, CONFIG_INVALID */
export async function openGrpcApi(
  deps: GrpcDeps,
  { host, port, maxMessage = MAX_MESSAGE }: { host: string; port: number; maxMessage?: Bytes },
): Promise<GrpcApi> {
  const sockets = new Set<Socket>();
  let loading: Promise<GrpcServer> | undefined;
  const load = async (): Promise<GrpcServer> =>
    (await import('./grpc-server.ts')).grpcServer(deps, maxMessage);
  const accept = (socket: Socket): void => {
    sockets.add(socket);
    socket.on('error', () => undefined).once('close', () => sockets.delete(socket));
    loading ??= load();
    loading.then(
      (server) => server.accept(socket),
      () => socket.destroy(),
    );
  };
  const listener = createServer({ noDelay: true }, accept);
  listener.maxConnections = MAX_CONNECTIONS;
  await listen(listener, host, port);
  return {
    address: addressOf(listener, host),
    async close() {
      const closed = new Promise<void>((resolve) => listener.close(() => resolve()));
      const server = await loading?.catch(() => undefined);
      server?.drain();
      const late = deps.clock.after(GRACE_MS, () => {
        server?.stop();
        for (const socket of sockets) socket.destroy();
      });
      await closed;
      late.cancel();
    },
  };
}

function listen(listener: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    listener.once('error', (cause: NodeJS.ErrnoException) => {
      const used = cause.code === 'EADDRINUSE';
      const what = used
        ? `port ${port} on ${host} is in use`
        : `cannot listen on ${host}:${port}: ${cause.message}`;
      const fix = 'Set api.grpcPort to another port (0 picks a free one), or api.grpc to false.';
      reject(new SkeinError(used ? 'PORT_IN_USE' : 'CONFIG_INVALID', what, { cause, fix }));
    });
    listener.listen(port, host, resolve);
  });
}

function addressOf(listener: Server, host: string): string {
  const bound = listener.address();
  const port = typeof bound === 'object' ? bound?.port : bound;
  return `${host.includes(':') ? `[${host}]` : host}:${port}`;
}
