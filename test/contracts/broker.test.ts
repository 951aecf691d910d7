import { startAedesBroker } from '@skein/fleet-server/broker/aedes-broker.ts';
import { clearTopics } from '@skein/fleet-server/broker/clear-topics.ts';
import type { Broker } from '@skein/fleet-server/broker/port.ts';
import { CHANNELS, type Channel, topicFor } from '@skein/protocol/topics.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  connectClient,
  createParties,
  type DeviceTls,
  FLEET,
  type Parties,
  silent,
} from './broker-parties.ts';
import { startExternal } from './external-broker.ts';
import { findMosquitto } from './mosquitto.ts';

interface Subject {
  broker: Broker;
  /** mTLS, for devices. */
  mqtts: number;
  /** Plain, for whoever reads along. */
  mqtt: number;
  stop(): Promise<void>;
}

const MAX_PACKET = 256 * 1024;

async function embedded(parties: Parties): Promise<Subject> {
  const endpoint = { host: '127.0.0.1', port: 0, variable: 'X' };
  const broker = await startAedesBroker({
    fleet: FLEET,
    tls: parties.server,
    devices: endpoint,
    local: endpoint,
    maxPacketBytes: MAX_PACKET,
    mayConnect: async () => true,
    log: silent,
  });
  return { broker, ...broker.ports, stop: () => broker.close() };
}

const external = (parties: Parties) => startExternal(parties, MAX_PACKET);

const ADAPTERS = [
  { name: 'aedes-broker', start: embedded, missing: false },
  { name: 'mqtt-broker on Mosquitto', start: external, missing: findMosquitto() === undefined },
];

for (const { name, start, missing } of ADAPTERS) {
  const suffix = missing ? ' (skipped: mosquitto is not installed)' : '';
  describe.skipIf(missing)(`Broker contract: ${name}${suffix}`, () => {
    let parties: Parties;
    let subject: Subject;
    let tls: { a: DeviceTls; b: DeviceTls; c: DeviceTls };
    const heard: { topic: string; payload: string }[] = [];
    const listeners = new Set<() => void>();

    /** The server has heard `count` messages on this topic. */
    const untilHeard = (topic: string, count = 1): Promise<string[]> =>
      new Promise((resolve, reject) => {
        const payloads = () => heard.filter((m) => m.topic === topic).map((m) => m.payload);
        const look = () => {
          if (payloads().length < count) return;
          clearTimeout(timer);
          listeners.delete(look);
          resolve(payloads());
        };
        const timer = setTimeout(() => reject(new Error(`heard ${JSON.stringify(heard)}`)), 5_000);
        listeners.add(look);
        look();
      });
    const connectDevice = (id: keyof typeof tls, will?: string) =>
      connectClient(`mqtts://localhost:${subject.mqtts}`, {
        ...tls[id],
        clientId: `d-${id}`,
        ...(will
          ? {
              will: {
                topic: topicFor(FLEET, `d-${id}`, 'status'),
                payload: Buffer.from(will),
                qos: 1,
                retain: true,
              },
            }
          : {}),
      });

    beforeAll(async () => {
      parties = await createParties();
      const [a, b, c] = await Promise.all(['d-a', 'd-b', 'd-c'].map((id) => parties.device(id)));
      tls = { a: a!, b: b!, c: c! };
      subject = await start(parties);
      subject.broker.onMessage((topic, payload) => {
        heard.push({ topic, payload: Buffer.from(payload).toString() });
        for (const listener of listeners) listener();
      });
    });
    afterAll(async () => {
      await subject?.stop();
      parties?.dispose();
    });

    it('says that it is reached', () => {
      expect(subject.broker.unreachedSince).toBeNull();
    });

    it('gives the server every message of a device in the order it was published', async () => {
      const device = await connectDevice('a');
      const topic = topicFor(FLEET, 'd-a', 'batch/predictions');
      const sent = Array.from({ length: 200 }, (_, i) => String(i));
      await Promise.all(sent.map((payload) => device.mqtt.publishAsync(topic, payload, { qos: 1 })));
      expect(await untilHeard(topic, 200)).toEqual(sent);
      await device.mqtt.endAsync();
    });

    it('delivers what the server publishes to the device that subscribed, and to no other', async () => {
      const [a, b] = [await connectDevice('a'), await connectDevice('b')];
      for (const [client, id] of [
        [a, 'd-a'],
        [b, 'd-b'],
      ] as const) {
        await client.mqtt.subscribeAsync(topicFor(FLEET, id, 'ack'), { qos: 1 });
      }
      await subject.broker.publish(topicFor(FLEET, 'd-a', 'ack'), 'for a', { qos: 1, retain: false });
      await subject.broker.publish(topicFor(FLEET, 'd-b', 'ack'), 'for b', { qos: 1, retain: false });
      expect((await a.until(() => true)).payload).toBe('for a');
      expect((await b.until(() => true)).payload).toBe('for b');
      expect(a.received).toHaveLength(1);
      await Promise.all([a.mqtt.endAsync(), b.mqtt.endAsync()]);
    });

    it('keeps a retained message for a device that subscribes later, until it is cleared', async () => {
      const topic = topicFor(FLEET, 'd-a', 'desired');
      await subject.broker.publish(topic, '{"directorVersion":7}', { qos: 1, retain: true });
      const first = await connectDevice('a');
      await first.mqtt.subscribeAsync(topic, { qos: 1 });
      expect(await first.until((m) => m.topic === topic)).toMatchObject({
        payload: '{"directorVersion":7}',
        retain: true,
      });
      await subject.broker.publish(topic, '', { qos: 1, retain: true });
      await first.until((m) => m.payload === '');
      await first.mqtt.endAsync();
      const second = await connectDevice('a');
      await second.mqtt.subscribeAsync(topic, { qos: 1 });
      await subject.broker.publish(topicFor(FLEET, 'd-a', 'desired'), 'marker', { qos: 1, retain: false });
      await second.until((m) => m.payload === 'marker');
      expect(second.received).toHaveLength(1);
      await second.mqtt.endAsync();
    });

    it('keeps nothing of a device whose topics were cleared', async () => {
      const device = await connectDevice('c');
      const kept = Object.entries(CHANNELS).filter(([, { retain }]) => retain);
      for (const [channel, { way, qos }] of kept) {
        const topic = topicFor(FLEET, 'd-c', channel as Channel);
        if (way === 'up') await device.mqtt.publishAsync(topic, channel, { qos, retain: true });
        else await subject.broker.publish(topic, channel, { qos, retain: true });
      }
      await device.mqtt.endAsync();
      /** Brokers tell in the order of keeping, or all before anything that comes later. */
      const retained = async () => {
        const last = topicFor(FLEET, 'd-c', 'ack');
        await subject.broker.publish(last, 'kept last', { qos: 1, retain: true });
        const reader = await connectClient(`mqtt://127.0.0.1:${subject.mqtt}`);
        await reader.mqtt.subscribeAsync(`skein/v1/${FLEET}/d-c/#`, { qos: 1 });
        await reader.until(({ payload }) => payload === 'kept last');
        await subject.broker.publish(last, 'later', { qos: 1, retain: false });
        await reader.until(({ payload }) => payload === 'later');
        await reader.mqtt.endAsync();
        return reader.received.filter(({ topic }) => topic !== last).map(({ payload }) => payload);
      };
      expect((await retained()).sort()).toEqual(kept.map(([channel]) => channel).sort());
      await clearTopics(subject.broker, FLEET, 'd-c');
      expect(await retained()).toEqual([]);
    });

    it('delivers the will of a device whose connection breaks', async () => {
      const device = await connectDevice('b', '{"online":0}');
      device.mqtt.stream.destroy();
      const payloads = await untilHeard(topicFor(FLEET, 'd-b', 'status'));
      expect(payloads).toEqual(['{"online":0}']);
    });

    it('makes a sender wait while the server is busy with it, and nobody else', async (context) => {
      if (!subject.broker.holdsSenders) return context.skip('one connection for all devices');
      const [a, b] = [await connectDevice('a'), await connectDevice('b')];
      const topic = topicFor(FLEET, 'd-a', 'batch/health');
      const taken: number[] = [];
      let release!: () => void;
      let busy: Promise<void> | undefined = new Promise((resolve) => {
        release = resolve;
      });
      subject.broker.onMessage((to, payload) => {
        if (to !== topic) return;
        taken.push(new DataView(payload.buffer, payload.byteOffset).getUint32(0));
        return busy;
      });
      const sent = Array.from({ length: 200 }, (_, i) => {
        const payload = Buffer.alloc(16 * 1024);
        payload.writeUInt32BE(i);
        return payload;
      });
      const all = Promise.all(sent.map((payload) => a.mqtt.publishAsync(topic, payload, { qos: 1 })));
      const other = topicFor(FLEET, 'd-b', 'batch/health');
      for (let i = 0; i < 20; i++) await b.mqtt.publishAsync(other, `b ${i}`, { qos: 1 });
      expect(await untilHeard(other, 20)).toHaveLength(20);
      expect(taken.length).toBeLessThan(50);
      busy = undefined;
      release();
      await all;
      expect(taken).toEqual(sent.map((_, i) => i));
      await Promise.all([a.mqtt.endAsync(), b.mqtt.endAsync()]);
    });

    it('lets no device publish as another', async () => {
      const liar = await connectDevice('b');
      const stolen = topicFor(FLEET, 'd-a', 'state');
      await liar.mqtt.publishAsync(stolen, 'forged', { qos: 0 }).catch(() => {});
      await liar.mqtt.publishAsync(topicFor(FLEET, 'd-b', 'state'), 'own', { qos: 0 }).catch(() => {});
      const honest = await connectDevice('a');
      await honest.mqtt.publishAsync(topicFor(FLEET, 'd-a', 'hello'), 'after', { qos: 1 });
      await untilHeard(topicFor(FLEET, 'd-a', 'hello'));
      expect(heard.filter((m) => m.topic === stolen)).toEqual([]);
      await Promise.all([liar.mqtt.endAsync(true), honest.mqtt.endAsync()]);
    });

    it('lets no device read what is meant for another', async () => {
      const spy = await connectDevice('b');
      const others = [topicFor(FLEET, 'd-a', 'command'), `skein/v1/${FLEET}/+/command`, 'skein/#', '#'];
      for (const topic of others) await spy.mqtt.subscribeAsync(topic, { qos: 1 }).catch(() => {});
      await spy.mqtt.subscribeAsync(topicFor(FLEET, 'd-b', 'command'), { qos: 1 });
      await subject.broker.publish(topicFor(FLEET, 'd-a', 'command'), 'secret', { qos: 1, retain: false });
      await subject.broker.publish(topicFor(FLEET, 'd-b', 'command'), 'mine', { qos: 1, retain: false });
      await spy.until((m) => m.payload === 'mine');
      expect(spy.received.map((m) => m.payload)).not.toContain('secret');
      await spy.mqtt.endAsync(true);
    });

    it('refuses a client without a certificate', async () => {
      const url = `mqtts://localhost:${subject.mqtts}`;
      await expect(connectClient(url, { ca: parties.server.ca, clientId: 'd-a' })).rejects.toThrow();
    });

    it('refuses a certificate of another authority, even one that names a device', async () => {
      const strangers = await createParties();
      const forged = await strangers.device('d-a');
      const url = `mqtts://localhost:${subject.mqtts}`;
      await expect(
        connectClient(url, { ...forged, ca: parties.server.ca, clientId: 'd-a' }),
      ).rejects.toThrow();
      strangers.dispose();
    });

    it('tells the server when it is connected, so that retained messages can be published', async () => {
      await expect(
        new Promise<void>((resolve) => subject.broker.onConnect(resolve)),
      ).resolves.toBeUndefined();
    });
  });
}
