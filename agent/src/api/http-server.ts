/**
 * The local API's doors: a port or a Unix socket. The number of connections is bounded, and so is every wait: a request
 * must be whole within 10 s, an idle connection ends after 60 s, a client that does not read its answer is let go after
 * the same.
 */
import { createServer, type Socket } from 'node:net';
import { availableParallelism } from 'node:os';
import { type Millis, SECOND } from '@skein/protocol/units.ts';
import type { BodyBudget } from './body-budget.ts';
import { BusyPoll, type LoopTurns } from './busy-poll.ts';
import { Connection, type HttpHandler, type HttpLimits } from './http-connection.ts';
import { type Listening, type ListenKeys, listenOn } from './tcp-listen.ts';

export const HTTP_LIMITS: HttpLimits = { requestWithinMs: 10 * SECOND, idleMs: 60 * SECOND, busyPollMs: 0.2 };
const SWEEP_MS: Millis = SECOND;
const MAX_CONNECTIONS = 256;

export interface HttpServer {
  /** Where it listens: TCP port, or undefined on a Unix socket. */
  readonly port: number | undefined;
  close(): Promise<void>;
}

const TURNS: LoopTurns = { now: () => performance.now(), nextTurn: (then) => void setImmediate(then) };

const KEYS: ListenKeys = { port: 'SKEIN_AGENT_PORT (api.port)', socket: 'api.socket' };

/**
 * @param bodies may be shared with other servers of this process
 * @throws SkeinError PORT_IN_USE, CONFIG_INVALID
 */
export async function openHttpServer(
  handler: HttpHandler,
  where: Listening,
  bodies: BodyBudget,
  limits: HttpLimits = HTTP_LIMITS,
): Promise<HttpServer> {
  // With one processor, whom this waits for could not run meanwhile.
  const poll = new BusyPoll(availableParallelism() > 1 ? limits.busyPollMs : 0, TURNS);
  const connections = new Map<Socket, Connection>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    connections.set(socket, new Connection(socket, handler, bodies, poll));
    socket.once('close', () => connections.delete(socket));
  });
  server.maxConnections = MAX_CONNECTIONS;
  await listenOn(server, where, KEYS);
  const sweep = setInterval(
    () => {
      const now = performance.now();
      for (const connection of connections.values()) connection.sweep(now, limits);
    },
    Math.min(SWEEP_MS, limits.requestWithinMs / 4),
  );
  sweep.unref();
  const address = server.address();
  return {
    port: typeof address === 'object' ? address?.port : undefined,
    close: () =>
      new Promise((resolve) => {
        clearInterval(sweep);
        server.close(() => resolve());
        for (const socket of connections.keys()) socket.destroy();
      }),
  };
}
