/** The link against a real broker over real mTLS. */
import { createServer, type Server, type Socket } from 'node:net';
import { type AedesBroker, startAedesBroker } from '@skein/fleet-server/broker/aedes-broker.ts';
import { topicFor } from '@skein/protocol/topics.ts';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { connectAt } from '../../../agent/src/identity/http-tls.ts';
import { systemClock, systemEntropy } from '../../../agent/src/system-clock.ts';
import type { Link } from '../../../agent/src/uplink/link.ts';
import { openMqttLink } from '../../../agent/src/uplink/mqtt-link.ts';
import { createPresence, statusMessage } from '../../../agent/src/uplink/presence.ts';
import { TcpRoute } from '../../../scripts/chaos/tcp-route.ts';
import {
  createParties,
  type DeviceTls,
  FLEET,
  type Parties,
  silent,
} from '../../contracts/broker-parties.ts';
import { freePort } from '../../contracts/mosquitto.ts';

let parties: Parties;
let tls: DeviceTls;
let broker: AedesBroker | undefined;
let port: number;
let heard: { topic: string; text: string }[];
let wakers: (() => void)[];
let links: Link[];

beforeAll(async () => {
  parties = await createParties();
  tls = await parties.device('d-1');
  port = await freePort();
});
afterAll(() => parties.dispose());
beforeEach(async () => {
  heard = [];
  wakers = [];
  links = [];
  await startBroker();
});
afterEach(async () => {
  for (const link of links) await link.stop();
  await broker?.close();
});

async function startBroker(): Promise<void> {
  const devices = { host: '127.0.0.1', port, variable: 'SKEIN_MQTTS_PORT' };
  const local = { host: '127.0.0.1', port: 0, variable: 'SKEIN_MQTT_PORT' };
  const given = { fleet: FLEET, tls: parties.server, devices, local, maxPacketBytes: 1 << 20, log: silent };
  broker = await startAedesBroker({ ...given, mayConnect: async () => true });
  broker.onMessage((topic, payload) => {
    heard.push({ topic, text: Buffer.from(payload).toString() });
    for (const wake of wakers.splice(0)) wake();
  });
}

async function until(fits: () => boolean): Promise<void> {
  while (!fits()) await new Promise<void>((resolve) => wakers.push(resolve));
}

const who = { boot: 'boot-1', agentVersion: '1.2.3' };

function open(more: object = {}): Link {
  const link = openMqttLink({
    url: `mqtts://localhost:${port}`,
    fleet: FLEET,
    device: 'd-1',
    tls: () => tls,
    keepaliveMs: 60_000,
    will: (session) => JSON.stringify(statusMessage(false, session, who)),
    clock: systemClock,
    entropy: systemEntropy,
    log: silent,
    reconnect: { baseMs: 20, capMs: 100 },
    ...more,
  });
  links.push(link);
  return link;
}

const connected = (link: Link) => new Promise<void>((resolve) => link.onConnect(resolve));
const status = () =>
  heard.filter(({ topic }) => topic.endsWith('/status')).map(({ text }) => JSON.parse(text));

describe('the MQTT link', () => {
  it('is subscribed before it says that it is connected', async () => {
    const link = open();
    const got = new Promise<string>((resolve) =>
      link.onMessage('ack', (payload) => resolve(Buffer.from(payload).toString())),
    );
    const ready = connected(link);
    link.start();
    await ready;
    await broker!.publish(topicFor(FLEET, 'd-1', 'ack'), 'word', { qos: 1, retain: false });
    expect(await got).toBe('word');
  });

  it('publishes with proof of arrival, and refuses while not connected', async () => {
    const link = open();
    await expect(link.publish('batch/health', 'x')).rejects.toMatchObject({ code: 'UNREACHABLE' });
    const ready = connected(link);
    link.start();
    await ready;
    await link.publish('batch/health', Uint8Array.of(1, 2, 3));
    expect(heard).toContainEqual({ topic: topicFor(FLEET, 'd-1', 'batch/health'), text: '\x01\x02\x03' });
  });

  it('comes back by itself, subscribed, with a session of its own, and sends nothing of before', async () => {
    const link = open();
    let connects = 0;
    link.onConnect(() => connects++);
    const down = new Promise<string>((resolve) => link.onDisconnect(resolve));
    let ready = connected(link);
    link.start();
    await ready;
    const session = link.session;
    await broker!.close();
    await down;
    expect(link.connected).toBe(false);
    await expect(link.publish('batch/health', 'lost')).rejects.toMatchObject({ code: 'UNREACHABLE' });
    ready = connected(link);
    await startBroker();
    await ready;
    expect(link.session).not.toBe(session);
    const got = new Promise<void>((resolve) => link.onMessage('command', () => resolve()));
    await broker!.publish(topicFor(FLEET, 'd-1', 'command'), 'x', { qos: 1, retain: false });
    await got;
    expect(connects).toBe(2);
    expect(heard.some(({ text }) => text === 'lost')).toBe(false);
  });

  it('leaves its last word with the broker, and takes it along when it goes in peace', async () => {
    const link = open();
    const presence = createPresence({ ...who, link, hello: () => ({}) as never, log: silent });
    const ready = connected(link);
    link.start();
    await ready;
    await until(() => status().length === 1);
    expect(status()[0]).toEqual({ online: 1, session: link.session, ...who });
    await presence.goodbye();
    await link.stop();
    expect(status()[1]).toEqual({ online: 0, session: link.session, ...who });
    const route = new TcpRoute('d-1', () => ({ host: '127.0.0.1', port }));
    const second = open({ url: `mqtts://localhost:${await route.listen()}` });
    const again = connected(second);
    second.start();
    await again;
    await route.close();
    await until(() => status().length === 3);
    expect(status()[2]).toMatchObject({ online: 0, boot: 'boot-1' });
  });

  it('does not talk to a server of another authority', async () => {
    const others = await createParties();
    const reasons: string[] = [];
    const log = {
      ...silent,
      info: (_: string, data?: Record<string, unknown>) => void reasons.push(String(data?.reason)),
    };
    const link = open({ tls: () => ({ ...tls, ca: others.server.ca }), log });
    link.start();
    while (reasons.length === 0) await new Promise((resolve) => setTimeout(resolve, 10));
    expect(link.connected).toBe(false);
    expect(reasons[0]).toMatch(/verify|self-signed|certificate/i);
    others.dispose();
  });

  it('believes a server by the chain alone where the clock is behind, and no other authority then either', async () => {
    const others = await createParties();
    const at = Date.now();
    const socketFor = (ca: string) => () =>
      connectAt({ host: 'localhost', port, key: tls.key, cert: tls.cert, ca }, ca, at);
    const link = open({ tls: () => ({ ca: tls.ca, socket: socketFor(tls.ca) }) });
    const ready = connected(link);
    link.start();
    await ready;
    await link.publish('batch/health', 'x');
    const refused = new Promise<string>((resolve) => {
      const log = { ...silent, info: (_: string, data?: object) => resolve(JSON.stringify(data)) };
      const evil = open({ log, tls: () => ({ ca: others.server.ca, socket: socketFor(others.server.ca) }) });
      evil.start();
    });
    expect(await refused).toMatch(/not from the fleet’s CA/);
    others.dispose();
  });

  it('rejects what a silent broker never confirms once the connection is over, within its bound', async () => {
    const sockets: Socket[] = [];
    const mute: Server = createServer((socket) => {
      sockets.push(socket);
      // CONNACK, then a SUBACK for the first packet id it uses; publishes are swallowed.
      socket.once('data', () => socket.write(Uint8Array.of(0x20, 2, 0, 0)));
      socket.on('data', (data) => {
        // Its length takes one byte or two.
        const at = data[1]! & 0x80 ? 3 : 2;
        if (data[0] === 0x82) socket.write(Uint8Array.of(0x90, 7, data[at]!, data[at + 1]!, 1, 1, 1, 1, 0));
      });
    }).listen(0, '127.0.0.1');
    await new Promise((resolve) => mute.once('listening', resolve));
    const { port: mutePort } = mute.address() as { port: number };
    const link = open({ url: `mqtt://127.0.0.1:${mutePort}`, tls: undefined });
    const ready = connected(link);
    link.start();
    await ready;
    const tries = Array.from({ length: 100 }, () =>
      link.publish('batch/health', 'x').catch((error) => error.code),
    );
    await new Promise((resolve) => setImmediate(resolve));
    for (const socket of sockets) socket.destroy();
    const codes = await Promise.all(tries);
    expect(codes.filter((code) => code === 'UNREACHABLE')).toHaveLength(64);
    expect(codes.filter((code) => code === 'OVERLOADED')).toHaveLength(36);
    await link.stop();
    mute.close();
  });
});

describe('presence', () => {
  it('introduces itself on every connect: status first, then hello, reported and the last values', async () => {
    const route = new TcpRoute('d-1', () => ({ host: '127.0.0.1', port }));
    const link = open({ url: `mqtts://localhost:${await route.listen()}` });
    const hello = { agentVersion: '1' } as never;
    const presence = createPresence({
      ...who,
      link,
      hello: () => hello,
      reported: () => new TextEncoder().encode('signed'),
      log: silent,
    });
    presence.state({ ts: 1, score: 0.5 });
    presence.event({ type: 'new' } as never);
    let ready = connected(link);
    link.start();
    await ready;
    await until(() => heard.length >= 4);
    const channels = () => heard.map(({ topic }) => topic.split('/').at(-1));
    expect(channels()).toEqual(['status', 'hello', 'reported', 'state']);
    presence.event({ type: 'end' } as never);
    presence.introduce();
    await until(() => heard.length >= 7);
    expect(channels().slice(4)).toEqual(['event', 'hello', 'reported']);
    heard = [];
    ready = connected(link);
    route.cut();
    await ready;
    await until(() => channels().includes('state'));
    // The broker says our last word first.
    expect(channels()).toEqual(['status', 'status', 'hello', 'reported', 'state']);
    await link.stop();
    await route.close();
  });
});
