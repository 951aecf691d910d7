/** A broker as devices find them on their network: aedes in this process, or a real Mosquitto; plain, on a free port. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Aedes } from 'aedes';
import { findMosquitto } from './mosquitto.ts';

export interface LocalBroker {
  url: string;
  port: number;
  publish(topic: string, payload: string | Buffer, options?: { retain?: boolean }): Promise<void>;
  /** Topics that clients subscribed to, in order. */
  subscriptions: string[];
  onPublish(handler: (topic: string, payload: Buffer) => void): void;
  close(): Promise<void>;
}

export interface AedesRules {
  port?: number;
  /** `user:password` that may connect. */
  account?: string;
  /** Topic filter that nobody may read. */
  forbidden?: string;
}

export async function startAedes({ port = 0, account, forbidden }: AedesRules = {}): Promise<LocalBroker> {
  const aedes = await Aedes.createBroker({
    authenticate: (_client, username, password, done) =>
      done(null, account === undefined || `${username}:${password}` === account),
    authorizeSubscribe: (_client, subscription, done) =>
      done(null, subscription.topic === forbidden ? null : subscription),
  });
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    aedes.handle(socket);
  });
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  const { port: bound } = server.address() as { port: number };
  const subscriptions: string[] = [];
  aedes.on('subscribe', (granted) => void subscriptions.push(...granted.map((each) => each.topic)));
  return {
    url: `mqtt://127.0.0.1:${bound}`,
    port: bound,
    subscriptions,
    publish: (topic, payload, { retain = false } = {}) =>
      new Promise((resolve, reject) =>
        aedes.publish({ cmd: 'publish', topic, payload, qos: 0, retain, dup: false }, (error) =>
          error ? reject(error) : resolve(),
        ),
      ),
    onPublish: (handler) =>
      void aedes.on('publish', (packet, client) => client && handler(packet.topic, packet.payload as Buffer)),
    close: () =>
      new Promise((resolve) => {
        // Nobody new comes in while those who are there are sent away.
        server.close(() => aedes.close(() => resolve()));
        for (const socket of sockets) socket.destroy();
      }),
  };
}

export const mosquitto = findMosquitto();

export interface Mosquitto {
  url: string;
  port: number;
  stop(): Promise<void>;
}

/** @param lines of its configuration beside the listener. */
export async function startLocalMosquitto(lines: string[] = ['allow_anonymous true']): Promise<Mosquitto> {
  const folder = mkdtempSync(join(tmpdir(), 'skein-mosquitto-'));
  const port = await new Promise<number>((resolve) => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      const { port: free } = probe.address() as { port: number };
      probe.close(() => resolve(free));
    });
  });
  const path = join(folder, 'mosquitto.conf');
  writeFileSync(path, `${[`listener ${port} 127.0.0.1`, 'user root', ...lines].join('\n')}\n`);
  const child = spawn(mosquitto!, ['-c', path], { stdio: ['ignore', 'ignore', 'pipe'] });
  await running(child);
  return {
    url: `mqtt://127.0.0.1:${port}`,
    port,
    stop: () =>
      new Promise((resolve) => {
        child.once('exit', () => {
          rmSync(folder, { recursive: true, force: true });
          resolve();
        });
        child.kill('SIGKILL');
      }),
  };
}

const running = (child: ChildProcess): Promise<void> =>
  new Promise((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`mosquitto stopped (${code})`)));
    child.stderr!.on('data', (chunk) => /running/.test(String(chunk)) && resolve());
  });
