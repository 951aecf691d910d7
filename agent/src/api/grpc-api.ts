/**
 * The Open Inference Protocol over gRPC, for programs on this device: a port on loopback and, when configured, a Unix
 * socket. Listening costs nothing: the gRPC server itself (some 15 MB of memory, more under load) is loaded by the first connection.
 */
import { createServer, type Server, type Socket } from 'node:net';
import type { Clock } from '@skein/protocol/ports.ts';
import { type Bytes, MIB, type Millis } from '@skein/protocol/units.ts';
import { type Authorize, bearerCheck, refuseOpenHost } from './bearer.ts';
import type { GrpcDeps, GrpcServer } from './grpc-server.ts';
import { type Listening, type ListenKeys, listenOn } from './tcp-listen.ts';

const MAX_MESSAGE: Bytes = 16 * MIB;
const MAX_CONNECTIONS = 32;
/** For calls that are at work; each of the agent’s steps of stopping may take 900 ms. */
const GRACE_MS: Millis = 500;

const KEYS: ListenKeys = { port: 'api.grpcPort', socket: 'api.grpcSocket' };

export interface GrpcOptions {
  host: string;
  port: number;
  /** Path of a Unix socket to listen on too. */
  socket?: string;
  /** Asked for in the metadata `authorization: Bearer`; absent: nobody is asked. */
  token?: string;
  /** Of one message, unpacked. */
  maxMessage?: Bytes;
}

export interface GrpcApi {
  /** `host:port`, as gRPC clients take it. */
  readonly address: string;
  close(): Promise<void>;
}

/** @throws SkeinError PORT_IN_USE, CONFIG_INVALID */
export async function openGrpcApi(deps: GrpcDeps, options: GrpcOptions): Promise<GrpcApi> {
  const { host, port, socket, token, maxMessage = MAX_MESSAGE } = options;
  refuseOpenHost(host, token);
  const door = new Door(deps, bearerCheck(token), maxMessage);
  try {
    const listener = await door.listen({ host, port });
    if (socket !== undefined) await door.listen({ socket });
    return { address: addressOf(listener, host), close: () => door.close() };
  } catch (error) {
    await door.close();
    throw error;
  }
}

/** Lets connections in and, with the first of them, the server. */
class Door {
  readonly #clock: Clock;
  readonly #load: () => Promise<GrpcServer>;
  readonly #listeners: Server[] = [];
  readonly #sockets = new Set<Socket>();
  #server: Promise<GrpcServer> | undefined;

  constructor(deps: GrpcDeps, authorize: Authorize, maxMessage: Bytes) {
    this.#clock = deps.clock;
    this.#load = async () => (await import('./grpc-server.ts')).grpcServer(deps, authorize, maxMessage);
  }

  async listen(where: Listening): Promise<Server> {
    const listener = createServer({ noDelay: true }, (socket) => this.#accept(socket));
    listener.maxConnections = MAX_CONNECTIONS;
    await listenOn(listener, where, KEYS);
    this.#listeners.push(listener);
    return listener;
  }

  #accept(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('error', () => undefined).once('close', () => this.#sockets.delete(socket));
    this.#server ??= this.#load();
    this.#server.then(
      (server) => server.accept(socket),
      () => socket.destroy(),
    );
  }

  async close(): Promise<void> {
    const closed = this.#listeners.map(
      (listener) => new Promise<void>((resolve) => listener.close(() => resolve())),
    );
    const server = await this.#server?.catch(() => undefined);
    server?.drain();
    const late = this.#clock.after(GRACE_MS, () => {
      server?.stop();
      for (const socket of this.#sockets) socket.destroy();
    });
    await Promise.all(closed);
    late.cancel();
  }
}

function addressOf(listener: Server, host: string): string {
  const bound = listener.address();
  const port = typeof bound === 'object' ? bound?.port : bound;
  return `${host.includes(':') ? `[${host}]` : host}:${port}`;
}
