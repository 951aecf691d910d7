import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { createApiKey } from '@skein/fleet-server/access/sessions.ts';
import { startAedesBroker } from '@skein/fleet-server/broker/aedes-broker.ts';
import { createApiClient } from '@skein/fleet-server/cli/client.ts';
import { resolveConfig } from '@skein/fleet-server/config.ts';
import { realAdapters } from '@skein/fleet-server/main.ts';
import { type RunningServer, startServer } from '@skein/fleet-server/server.ts';
import type { Store } from '@skein/fleet-server/store/sqlite-store.ts';
import { systemClock, systemEntropy } from '@skein/fleet-server/system-clock.ts';
import type { DeviceSummary } from '@skein/protocol/api.ts';
import { topicFor } from '@skein/protocol/topics.ts';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { connectClient, createParties, silent } from '../contracts/broker-parties.ts';
import { findMosquitto, startMosquitto } from '../contracts/mosquitto.ts';

let stateDir: string;
const adapters = { ...realAdapters, log: silent };
const start = (env: Record<string, string>) =>
  startServer(
    resolveConfig(undefined, {
      SKEIN_STATE_DIR: stateDir,
      SKEIN_HTTP_PORT: '0',
      SKEIN_DEVICE_PORT: '0',
      SKEIN_MQTTS_PORT: '0',
      SKEIN_MQTT_PORT: '0',
      SKEIN_DEVICE_HOST: '127.0.0.1',
      ...env,
    }),
    adapters,
  );
const occupied = async () => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { port: (server.address() as { port: number }).port, free: () => server.close() };
};

beforeAll(() => {
  stateDir = mkdtempSync(join(tmpdir(), 'skein-start-'));
});
afterAll(() => rmSync(stateDir, { recursive: true, force: true }));

/** Enrols straight in the store: what is tested here is not enrolment. */
const addDevice = (store: Store, id: string) =>
  store
    .insertInto('devices')
    .values({
      id,
      name: id,
      groups_json: '[]',
      report_key: '00'.repeat(32),
      cert_serial: '1',
      cert_not_after: 9e12,
      enrolled_at: 1,
      revoked_at: null,
    })
    .execute();

/** Speaks just enough MQTT: CONNECT, SUBSCRIBE skein/# at QoS 1, waits for SUBACK, then never reads again. */
async function subscribeAndStopReading(port: number): Promise<Socket> {
  const socket = connect(port, '127.0.0.1');
  const filter = Buffer.from('skein/#');
  const connectPacket = [0x10, 13, 0, 4, ...Buffer.from('MQTT'), 4, 2, 0, 0, 0, 1, 0x78];
  socket.write(
    Buffer.from([...connectPacket, 0x82, 5 + filter.length, 0, 1, 0, filter.length, ...filter, 1]),
  );
  let seen = Buffer.alloc(0);
  while (seen.length < 9) seen = Buffer.concat([seen, (await once(socket, 'data'))[0] as Buffer]);
  socket.pause();
  return socket;
}

const untilOnline = async (server: RunningServer, id: string) => {
  const key = await createApiKey(server.store, { name: 't', role: 'viewer' }, systemClock, systemEntropy);
  const api = createApiClient({ url: `http://127.0.0.1:${server.ports.http}`, key });
  const stop = AbortSignal.timeout(10_000);
  const known = async () => (await api.call('showDevice', { params: { id } })).online;
  if (await known()) return;
  for await (const { type, data } of api.events(stop)) {
    if (type === 'device' && (data as DeviceSummary).id === id && (data as DeviceSummary).online) return;
    if (await known()) return;
  }
  throw new Error(`${id} did not come online`);
};

describe('a running server', () => {
  it('tells every device by a retained hint that there are orders, anew after each start', async () => {
    const first = await start({});
    await addDevice(first.store, 'd-hint');
    await first.close();
    const second = await start({});
    const reader = await connectClient(`mqtt://127.0.0.1:${second.ports.mqtt}`);
    await reader.mqtt.subscribeAsync(topicFor('home', 'd-hint', 'desired'));
    const hint = await reader.until((m) => m.topic.endsWith('/desired'));
    expect(JSON.parse(hint.payload)).toEqual({ directorVersion: expect.any(Number) });
    await reader.mqtt.endAsync();
    await second.close();
  });

  it.skipIf(findMosquitto() === undefined)('works with a broker of somebody else’s', async () => {
    const parties = await createParties();
    const mosquitto = await startMosquitto(findMosquitto()!, parties, 'home');
    const before = await start({});
    await addDevice(before.store, 'd-far');
    await before.close();
    const server = await start({ SKEIN_BROKER_URL: `mqtt://127.0.0.1:${mosquitto.mqtt}` });
    expect(server.ports).toEqual({ http: expect.any(Number), device: expect.any(Number) });
    const url = `mqtts://localhost:${mosquitto.mqtts}`;
    const device = await connectClient(url, { ...(await parties.device('d-far')), clientId: 'd-far' });
    const status = JSON.stringify({ online: 1, session: 's', boot: 'b', agentVersion: '1' });
    await device.mqtt.publishAsync(topicFor('home', 'd-far', 'status'), status, { qos: 1, retain: true });
    await untilOnline(server, 'd-far');
    await device.mqtt.endAsync();
    await server.close();
    await mosquitto.stop();
    parties.dispose();
  });

  it('refuses to start without its external broker, and says so', async () => {
    await expect(start({ SKEIN_BROKER_URL: 'mqtt://127.0.0.1:9' })).rejects.toMatchObject({
      code: 'UNREACHABLE',
      fix: expect.stringContaining('SKEIN_BROKER_URL'),
    });
  });

  it('hears devices although a local reader has stopped reading, and cuts that reader off', async () => {
    const parties = await createParties();
    const heard: number[] = [];
    const broker = await startAedesBroker({
      fleet: 'home',
      tls: parties.server,
      devices: { host: '127.0.0.1', port: 0, variable: 'X' },
      local: { host: '127.0.0.1', port: 0, variable: 'X' },
      maxPacketBytes: 1 << 20,
      mayConnect: async () => true,
      log: silent,
    });
    broker.onMessage((_topic, payload) => void heard.push(payload.length));
    const reader = await subscribeAndStopReading(broker.ports.mqtt);
    const tls = await parties.device('d-loud');
    const device = await connectClient(`mqtts://localhost:${broker.ports.mqtts}`, {
      ...tls,
      clientId: 'd-loud',
    });
    const topic = topicFor('home', 'd-loud', 'batch/predictions');
    for (let i = 0; i < 40; i += 1) {
      await device.mqtt.publishAsync(topic, Buffer.alloc(500_000), { qos: 1 });
    }
    expect(heard).toHaveLength(40);
    await vi.waitFor(() => expect(broker.connected).toBe(1), { timeout: 15_000, interval: 50 });
    reader.destroy();
    await device.mqtt.endAsync();
    await broker.close();
    parties.dispose();
  });
});

describe('starting the server', () => {
  it.each(['SKEIN_HTTP_PORT', 'SKEIN_DEVICE_PORT', 'SKEIN_MQTTS_PORT', 'SKEIN_MQTT_PORT'])(
    'names port and variable when %s is taken, and leaves no other port open',
    async (variable) => {
      const [taken, other] = [await occupied(), await occupied()];
      const all = ['SKEIN_HTTP_PORT', 'SKEIN_DEVICE_PORT', 'SKEIN_MQTTS_PORT', 'SKEIN_MQTT_PORT'];
      const free = all.find((name) => name !== variable)!;
      other.free();
      const env = { [variable]: String(taken.port), [free]: String(other.port) };
      await expect(start(env)).rejects.toMatchObject({
        code: 'PORT_IN_USE',
        message: `port ${taken.port} on 127.0.0.1 is in use (${variable})`,
        fix: expect.stringContaining(`set ${variable} to another port`),
        data: { port: taken.port, variable },
      });
      const probe = createServer().listen(other.port, '127.0.0.1');
      await once(probe, 'listening');
      probe.close();
      taken.free();
    },
  );

  it('keeps its certificates over restarts and makes a server certificate for another host name', async () => {
    const fetchTrust = async (port: number) => {
      return new Promise<{ names: string; issuer: string }>((resolve, reject) => {
        const socket = connectTls({ host: '127.0.0.1', port, rejectUnauthorized: false }, () => {
          const certificate = socket.getPeerX509Certificate()!;
          resolve({ names: certificate.subjectAltName ?? '', issuer: certificate.issuer });
          socket.destroy();
        });
        socket.on('error', reject);
      });
    };
    const shown = async (env: Record<string, string>) => {
      const server = await start(env);
      const seen = await fetchTrust(server.ports.device);
      await server.close();
      return seen;
    };
    const first = await shown({});
    expect(await shown({})).toEqual(first);
    const moved = await shown({ SKEIN_PUBLIC_URL: 'https://fleet.example.org' });
    expect(moved.issuer).toBe(first.issuer);
    expect(moved.names).toContain('DNS:fleet.example.org');
  });
});
