/**
 * The embedded broker. Two doors: mTLS for devices (client id = certificate CN, ACL = `deviceMay`), and a plain
 * loopback one for local tools that may only read. Sessions are always clean and retained messages live in
 * memory: devices republish theirs on connect, the server republishes `desired`; durability is end to end.
 * Messages are handed to the server before they are forwarded, so a slow local reader can not hold them back.
 */
import { randomUUID } from 'node:crypto';
import { createServer as createPlainServer, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer, type TLSSocket, type Server as TlsServer } from 'node:tls';
import type { Log } from '@skein/protocol/ports.ts';
import { CHANNELS, deviceMay, parseTopic } from '@skein/protocol/topics.ts';
import { type Bytes, MIB } from '@skein/protocol/units.ts';
import { Aedes, type AedesOptions, type Client } from 'aedes';
import { type Endpoint, listenOn, RESUMABLE } from '../tcp-listen.ts';
import { createPacketLimit } from './packet-limit.ts';
import type { Broker, MessageHandler } from './port.ts';

export interface AedesBrokerOptions {
  fleet: string;
  tls: { key: string; cert: string; ca: string };
  devices: Endpoint;
  local: Endpoint;
  maxPacketBytes: Bytes;
  /** Asked at every connect: is this device enrolled and not revoked? */
  mayConnect(device: string): Promise<boolean>;
  log: Log;
}

export interface AedesBroker extends Broker {
  readonly ports: { mqtts: number; mqtt: number };
  /** After the server's certificate was issued anew; open connections stay. */
  useCertificate(tls: { key: string; cert: string; ca: string }): void;
  readonly connected: number;
}

/** What a packet has that aedes' types leave out. */
interface ConnectPacket {
  clientId: string;
  clean: boolean;
  will?: { topic: string };
}

type Door = { kind: 'device'; device: string } | { kind: 'local' };

/** For the person who reads the log. */
const STRANGER =
  'A device may only be itself. If this one is not yours any more, cut it off: skein devices revoke ID.';
const LOCAL = 'The local port is for reading only; devices publish on the mTLS port.';

/** A reader that takes nothing for this long is cut off, and one with this much waiting at once. */
const DRAIN_TIMEOUT_MS = 5_000;
const MAX_BACKLOG: Bytes = 8 * MIB;
export async function startAedesBroker(options: AedesBrokerOptions): Promise<AedesBroker> {
  const { fleet, log } = options;
  const doors = new WeakMap<object, Door>();
  const handlers: MessageHandler[] = [];
  /** Connections that we ended: they have no last word. */
  const cut = new WeakSet<object>();
  /** Connections of which nothing is read now, and how many of their messages wait. */
  const held = new WeakMap<object, number>();
  const holdReader = (conn: object): (() => void) => {
    held.set(conn, (held.get(conn) ?? 0) + 1);
    return () => void held.set(conn, held.get(conn)! - 1);
  };
  const doorOf = (client: Client): Door => doors.get(client.conn) ?? { kind: 'local' };

  const aedes = await Aedes.createBroker({
    drainTimeout: DRAIN_TIMEOUT_MS,
    ...admission(options, doorOf),
    authorizePublish(client, packet, done) {
      const door = client ? doorOf(client) : undefined;
      if (client && cut.has(client.conn)) return done(new Error(`${client.id} was disconnected`));
      if (!client || door?.kind !== 'device' || !deviceMay(door.device, fleet, 'up', packet.topic)) {
        const fix = door?.kind === 'local' ? LOCAL : STRANGER;
        log.warn('refused a publish', { client: client?.id, topic: packet.topic, fix });
        return done(new Error(`${client?.id} may not publish to ${packet.topic}`));
      }
      const { channel } = parseTopic(packet.topic)!;
      packet.retain = packet.retain && CHANNELS[channel].retain;
      const payload = typeof packet.payload === 'string' ? Buffer.from(packet.payload) : packet.payload;
      const busy = handlers.flatMap((handler) => handler(packet.topic, payload) ?? []);
      if (busy.length === 0) return done();
      const letGo = holdReader(client.conn);
      void Promise.all(busy).then(() => {
        letGo();
        // Reads on, when this was the last that waited.
        done();
      });
    },
  });
  aedes.on('clientError', (client, error) =>
    log.info('mqtt client', { client: client?.id, error: error.message }),
  );
  aedes.on('connectionError', (client, error) =>
    log.info('mqtt connection', { client: client?.id, error: error.message }),
  );

  const sockets = new Set<Socket>();
  const accept = (socket: Socket, door: Door) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    socket.setNoDelay(true);
    doors.set(socket, door);
    const mayRead = () => !held.get(socket);
    limitPackets(socket, { maxBytes: options.maxPacketBytes, mayRead, log });
    aedes.handle(socket);
  };
  const devices = createTlsServer(
    {
      ...options.tls,
      ...{ requestCert: true, rejectUnauthorized: true, minVersion: 'TLSv1.2' },
      ...RESUMABLE,
    },
    (socket) => accept(socket, { kind: 'device', device: commonNameOf(socket) }),
  );
  devices.on('tlsClientError', (error) => log.info('mqtts refused', { error: error.message }));
  const local = createPlainServer((socket) => accept(socket, { kind: 'local' }));
  const ports = await openDoors(devices, local, options);

  return {
    ports,
    holdsSenders: true,
    unreachedSince: null,
    get connected() {
      return aedes.connectedClients;
    },
    useCertificate: (tls) => devices.setSecureContext({ ...tls, ...RESUMABLE }),
    publish: (topic, payload, { qos, retain }) =>
      new Promise((resolve, reject) => {
        const packet = {
          cmd: 'publish' as const,
          topic,
          payload: Buffer.from(payload),
          qos,
          retain,
          dup: false,
        };
        aedes.publish(packet, (error) => (error ? reject(error) : resolve()));
      }),
    onMessage: (handler) => void handlers.push(handler),
    onConnect: (handler) => queueMicrotask(handler),
    async disconnect(device) {
      for (const socket of sockets) {
        const door = doors.get(socket);
        if (door?.kind !== 'device' || door.device !== device) continue;
        cut.add(socket);
        socket.destroy();
      }
    },
    async close() {
      const closed = [devices, local].map((s) => new Promise<void>((resolve) => s.close(() => resolve())));
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => aedes.close(resolve));
      await Promise.all(closed);
    },
  };
}

/** Who is let in, under which id, and what they may subscribe to. */
function admission(
  { fleet, mayConnect, log }: AedesBrokerOptions,
  doorOf: (client: Client) => Door,
): AedesOptions {
  return {
    preConnect(client, connect, done) {
      const packet = connect as unknown as ConnectPacket;
      const door = doorOf(client);
      packet.clean = true;
      if (door.kind === 'local') {
        // An id of our own: a local tool must not be able to take over a device's connection.
        packet.clientId = `local-${randomUUID()}`;
        delete packet.will;
        return done(null, true);
      }
      const { will } = packet;
      if (will && !deviceMay(door.device, fleet, 'up', will.topic)) {
        return done(new Error(`the will of ${door.device} is for ${will.topic}`), false);
      }
      done(null, true);
    },
    authenticate(client, _username, _password, done) {
      const door = doorOf(client);
      if (door.kind === 'local') return done(null, true);
      if (client.id !== door.device) {
        log.warn('refused a client id that is not the certificate’s', {
          client: client.id,
          cn: door.device,
          fix: STRANGER,
        });
        return done(null, false);
      }
      mayConnect(door.device).then(
        (allowed) => done(null, allowed),
        () => done(null, false),
      );
    },
    authorizeSubscribe(client, subscription, done) {
      const door = doorOf(client);
      const allowed =
        door.kind === 'local'
          ? !subscription.topic.startsWith('$')
          : deviceMay(door.device, fleet, 'down', subscription.topic);
      done(null, allowed ? subscription : null);
    },
    authorizeForward(client, packet) {
      if (client.conn.writableLength <= MAX_BACKLOG) return packet;
      log.warn('cut off a reader that does not keep up', { client: client.id });
      client.conn.destroy();
      return null;
    },
  };
}

/** The subject of a certificate that TLS has already verified. */
function commonNameOf(socket: TLSSocket): string {
  const name = socket.getPeerCertificate().subject?.CN;
  return typeof name === 'string' ? name : '';
}

interface ReadLimits {
  maxBytes: Bytes;
  /** Aedes itself reads on at the next chunk, whatever still waits. */
  mayRead(): boolean;
  log: Log;
}

/** Aedes takes its bytes by `read`; counting there bounds what its parser may have to hold. */
function limitPackets(socket: Socket, { maxBytes, mayRead, log }: ReadLimits): void {
  const within = createPacketLimit(maxBytes);
  const read = socket.read.bind(socket);
  socket.read = (size?: number) => {
    if (!mayRead()) return null;
    const chunk: Buffer | null = read(size);
    if (chunk === null || within(chunk)) return chunk;
    log.warn('mqtt packet too large', { maxBytes });
    socket.destroy();
    return null;
  };
}

async function openDoors(devices: TlsServer, local: Server, options: AedesBrokerOptions) {
  const mqtts = await listenOn(devices, options.devices);
  try {
    return { mqtts, mqtt: await listenOn(local, options.local) };
  } catch (error) {
    devices.close();
    throw error;
  }
}
