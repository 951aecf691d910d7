/** A line between two ends on loopback that can be counted, and can fall silent without breaking. */
import { connect, createServer, type Socket } from 'node:net';

export interface TcpProxy {
  port: number;
  /** Payload bytes of TCP, both ways, since the last `reset`. */
  bytes(): number;
  /** Connections since the last `reset`. */
  connections(): number;
  reset(): void;
  /** true: what either end sends is taken and goes nowhere, as behind a router that lost its way. New ones are taken too. */
  swallow(on: boolean): void;
  close(): Promise<void>;
}

export async function startProxy(target: number): Promise<TcpProxy> {
  const sockets = new Set<Socket>();
  let bytes = 0;
  let connections = 0;
  let silent = false;
  const pipe = (from: Socket, to: Socket) => {
    sockets.add(from);
    from.setNoDelay(true);
    from.on('data', (chunk) => {
      bytes += chunk.length;
      if (!silent) to.write(chunk);
    });
    from.on('error', () => {});
    from.on('close', () => {
      sockets.delete(from);
      if (!silent) to.destroy();
    });
  };
  const server = createServer((near) => {
    connections++;
    const far = connect(target, '127.0.0.1');
    pipe(near, far);
    pipe(far, near);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  return {
    port,
    bytes: () => bytes,
    connections: () => connections,
    reset() {
      bytes = 0;
      connections = 0;
    },
    swallow(on) {
      silent = on;
      // What was swallowed is gone for good: those lines stay dead.
      if (!on) for (const socket of sockets) socket.destroy();
    },
    close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const socket of sockets) socket.destroy();
      return closed;
    },
  };
}
