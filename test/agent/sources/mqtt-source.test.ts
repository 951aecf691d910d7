/** The MQTT source against real brokers: aedes, and Mosquitto where it is installed. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { generate } from 'mqtt-packet';
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest';
import { packetLimit } from '../../../agent/src/mqtt-limit.ts';
import { mappingOf } from '../../../agent/src/sources/json-rows.ts';
import { type MqttSourceOptions, mqttSource } from '../../../agent/src/sources/mqtt-source.ts';
import { payloadReader } from '../../../agent/src/sources/payload.ts';
import type { Source } from '../../../agent/src/sources/port.ts';
import { systemClock, systemEntropy } from '../../../agent/src/system-clock.ts';
import { createParties } from '../../contracts/broker-parties.ts';
import {
  type LocalBroker,
  mosquitto,
  startAedes,
  startLocalMosquitto,
} from '../../contracts/local-broker.ts';
import { listening } from './listening.ts';

const folder = mkdtempSync(join(tmpdir(), 'skein-mqtt-source-'));
let broker: LocalBroker;
let sources: Source[];
beforeEach(async () => {
  sources = [];
  broker = await startAedes();
});
afterEach(async () => {
  for (const source of sources) await source.stop();
  await broker.close();
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const FAST = { baseMs: 20, capMs: 100 };
function open(more: Partial<MqttSourceOptions> & { values?: Record<string, string> } = {}): Source {
  const { values, ...rest } = more;
  const options = {
    name: 'boiler',
    stallAfterMs: 60_000,
    url: broker.url,
    topic: 'plant/+/temp',
    qos: 0 as const,
  };
  const source = mqttSource(
    { ...options, maxBytes: 1_024, clock: systemClock, entropy: systemEntropy, reconnect: FAST, ...rest },
    payloadReader({ maxBytes: 1_024, maxRows: 1, mapping: mappingOf(values) }),
  );
  sources.push(source);
  return source;
}
const subscribed = () => expect.poll(() => broker.subscriptions.length).toBeGreaterThan(0);

describe('an MQTT topic', () => {
  it('gives a reading per message that fits the filter: flat objects and plain numbers as they are', async () => {
    const heard = listening();
    open().start(heard);
    await subscribed();
    await broker.publish('plant/a/temp', '{"temp":21.5,"on":true,"lost":null}');
    await broker.publish('plant/a/humidity', '{"humidity":60}');
    await broker.publish('plant/b/temp', ' -4.25e1 ');
    await heard.until(() => heard.readings.length === 2);
    expect(heard.readings.map((r) => r.values)).toEqual([
      { temp: 21.5, on: 1, lost: Number.NaN },
      { temp: -42.5 },
    ]);
    expect(heard.failures).toEqual([]);
  });

  it('maps paths of the payload to features, numbers in strings too', async () => {
    const heard = listening();
    open({
      topic: 'zigbee/#',
      qos: 1,
      values: { t: '$.sensor.temp', h: "$.list[1]['rel hum']", gone: '$.no' },
    }).start(heard);
    await subscribed();
    await broker.publish('zigbee/x', '{"sensor":{"temp":"21.5","unit":"C"},"list":[0,{"rel hum":55}]}');
    await heard.until(() => heard.readings.length === 1);
    expect(heard.readings[0]!.values).toEqual({ t: 21.5, h: 55, gone: Number.NaN });
  });

  it('takes each malformed message for one bad reading and goes on', async () => {
    const heard = listening();
    open().start(heard);
    await subscribed();
    for (const payload of [
      '',
      'warm',
      '{"temp":"warm"}',
      '[1,2]',
      '{"a":',
      Buffer.from([0xff, 0xfe]),
      '8'.repeat(5_000),
    ])
      await broker.publish('plant/a/temp', payload);
    await broker.publish('plant/a/temp', '{"temp":1}');
    await heard.until(() => heard.readings.length === 1);
    expect(heard.failures.map((error) => [(error as { code?: string }).code, error.message])).toEqual([
      ['SOURCE_INVALID', expect.stringMatching(/^plant\/a\/temp: “” is not JSON/)],
      ['SOURCE_INVALID', expect.stringMatching(/“warm” is not JSON/)],
      ['SOURCE_INVALID', expect.stringMatching(/temp is not a number/)],
      ['SOURCE_INVALID', expect.stringMatching(/not a JSON object of numbers/)],
      ['SOURCE_INVALID', expect.stringMatching(/is not JSON/)],
      ['SOURCE_INVALID', expect.stringMatching(/not UTF-8/)],
      ['SOURCE_INVALID', expect.stringMatching(/bytes, at most 1024 are taken/)],
    ]);
  });

  it('holds no more of a huge message than its limit, and gets the next one', async () => {
    const heard = listening();
    open({ qos: 1 }).start(heard);
    await subscribed();
    await broker.publish('plant/a/temp', Buffer.alloc(20 << 20, 0x31));
    await broker.publish('plant/a/temp', '7');
    await heard.until(() => heard.readings.length === 1);
    expect(heard.failures).toHaveLength(1);
    expect(Number(/(\d+) bytes/.exec(heard.failures[0]!.message)![1])).toBeLessThan(70_000);
  });

  it('comes back by itself when the broker does, and says meanwhile what is wrong', async () => {
    const heard = listening();
    open().start(heard);
    await subscribed();
    const { port } = broker;
    await broker.close();
    await heard.until(() => heard.failures.length > 2);
    expect(heard.failures.at(-1)!.message).toMatch(/boiler: mqtt:\/\/127.0.0.1:\d+: .*ECONNREFUSED/);
    broker = await startAedes({ port });
    await subscribed();
    await broker.publish('plant/a/temp', '8');
    await heard.until(() => heard.readings.length === 1);
  });

  it('says when it may not read the topic, or not connect', async () => {
    await broker.close();
    writeFileSync(join(folder, 'account'), 'me:wrong\n');
    broker = await startAedes({ account: 'me:secret', forbidden: 'plant/+/temp' });
    const [refused, denied] = [listening(), listening()];
    open({ credentials: join(folder, 'account') }).start(refused);
    await refused.until(() => refused.failures.length > 0);
    expect(refused.failures[0]!.message).toMatch(/Not authorized|Bad username or password/i);
    writeFileSync(join(folder, 'account'), 'me:secret\n');
    open({ credentials: join(folder, 'account') }).start(denied);
    await denied.until(() => denied.failures.length > 0);
    expect(denied.failures[0]!.message).toMatch(/refuses the topic plant\/\+\/temp/);
    expect(denied.failures[0]).toMatchObject({
      code: 'SOURCE_FAILED',
      fix: expect.stringMatching(/access list/),
    });
  });

  it('says that a file of credentials is missing, and what it is for', async () => {
    const heard = listening();
    open({ credentials: join(folder, 'none') }).start(heard);
    await heard.until(() => heard.failures.length > 0);
    expect(heard.failures[0]).toMatchObject({
      code: 'CONFIG_UNREADABLE',
      message: expect.stringMatching(/none: ENOENT/),
    });
  });
});

describe.runIf(mosquitto)('an MQTT topic of Mosquitto', () => {
  it('is read over TLS with the network’s own CA and a client certificate, and not without', async () => {
    const parties = await createParties();
    const device = await parties.device('d-1');
    const put = (name: string, text: string) => {
      const path = join(parties.folder, name);
      writeFileSync(path, text);
      return path;
    };
    const files = {
      ca: put('ca.pem', device.ca),
      certificate: put('cert.pem', device.cert),
      key: put('key.pem', device.key),
    };
    const real = await startLocalMosquitto([
      `cafile ${files.ca}`,
      `certfile ${put('s-cert.pem', parties.server.cert)}`,
      `keyfile ${put('s-key.pem', parties.server.key)}`,
      'require_certificate true',
      'allow_anonymous true',
    ]);
    try {
      const url = `mqtts://localhost:${real.port}`;
      const [heard, untrusting] = [listening(), listening()];
      const source = open({ ...files, url, topic: 'a' });
      source.start(heard);
      const { connectAsync } = await import('mqtt');
      const client = await connectAsync(url, {
        ca: device.ca,
        cert: device.cert,
        key: device.key,
        reconnectPeriod: 0,
      });
      await client.publishAsync('a', '5', { retain: true });
      await heard.until(() => heard.readings.length > 0);
      expect(heard.readings[0]!.values).toEqual({ a: 5 });
      const { ca: _, ...noCa } = files;
      open({ ...noCa, url, topic: 'a' }).start(untrusting);
      await untrusting.until(() => untrusting.failures.length > 0);
      expect(untrusting.failures[0]!.message).toMatch(/self.signed|unable to (get|verify)/i);
      client.end(true);
      await source.stop();
    } finally {
      await real.stop();
      parties.dispose();
    }
  });
});

describe('the limit in front of the client', () => {
  const through = (packets: Buffer, size: number, step: number): Buffer => {
    const limit = packetLimit(size);
    const out: Uint8Array[] = [];
    for (let at = 0; at < packets.length; at += step) out.push(...limit(packets.subarray(at, at + step)));
    return Buffer.concat(out);
  };
  const publish = (payload: Buffer) =>
    generate({ cmd: 'publish', topic: 't', payload, qos: 1, messageId: 7, dup: false, retain: false });
  const acknowledgement = generate({ cmd: 'puback', messageId: 9 });

  it.each([1, 2, 3, 7, 64, 100_000])(
    'cuts what is too long and nothing else, in pieces of %i bytes',
    (step) => {
      const fits = publish(Buffer.alloc(100, 1));
      const long = publish(Buffer.alloc(30_000, 2));
      // Topic and packet id take five bytes of the 201 that are left of it.
      const cut = publish(Buffer.alloc(196, 2));
      const all = Buffer.concat([fits, long, acknowledgement, long, fits]);
      expect(through(all, 200, step)).toEqual(Buffer.concat([fits, cut, acknowledgement, cut, fits]));
    },
  );
});
