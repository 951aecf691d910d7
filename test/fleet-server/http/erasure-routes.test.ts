/** Erasing a device of a running server: who may, what the device and others notice, and what is left. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { ErasureView } from '@skein/protocol/api.ts';
import { type BatchHeader, NO_HEAD } from '@skein/protocol/batch/header.ts';
import { chainHead, sealBatch } from '@skein/protocol/batch/sealed.ts';
import { CHANNELS, topicFor } from '@skein/protocol/topics.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connectClient } from '../../contracts/broker-parties.ts';
import { prediction } from '../../contracts/outbox.contract.ts';
import { testSigner } from '../../protocol/batch/random.ts';
import { placesOf } from '../erasure/filled.ts';
import { type EnrolledDevice, putTestRoots, startTestServer, type TestServer } from '../running-server.ts';

let server: TestServer;
const signer = testSigner('device');

beforeAll(async () => {
  server = await startTestServer();
  await putTestRoots(server);
});
afterAll(() => server.close());

/** With a report key of its own. */
async function enrolled(key = signer.publicKey): Promise<EnrolledDevice> {
  const device = await server.enrol();
  const report_key = Buffer.from(key).toString('hex');
  const { store } = server.running;
  await store.updateTable('devices').set({ report_key }).where('id', '=', device.device).execute();
  return device;
}
const erase = (id: string, role: 'operator' | 'admin' = 'admin') =>
  server.people('POST', `/v1/devices/${id}/erase`, { body: {}, role });
const untilDone = (pseudonym: unknown): Promise<ErasureView> =>
  expect
    .poll(() => server.people('GET', `/v1/erasures/${pseudonym}`), { timeout: 10_000, interval: 20 })
    .toMatchObject({ body: { state: 'done' } })
    .then(async () => (await server.people('GET', `/v1/erasures/${pseudonym}`)).body as never);

function* filesUnder(folder: string): Iterable<string> {
  for (const name of readdirSync(folder)) {
    const path = join(folder, name);
    if (statSync(path).isDirectory()) yield* filesUnder(path);
    else yield path;
  }
}
const inFiles = (text: string): string[] =>
  [...filesUnder(server.stateDir)].filter((path) => readFileSync(path).includes(text));

/** Batches of ten predictions, chained as an agent chains them. */
function* batches(device: string, fleet: string): Iterable<Uint8Array> {
  let prev = NO_HEAD;
  for (let seq = 0; ; seq += 10) {
    const records = Array.from({ length: 10 }, (_, i) => prediction(seq + i));
    const which = { v: 1, fleet, device, stream: 'predictions', epoch: '0123456789abcdef', ordinal: 1 };
    const header = { ...which, seq, n: 10, prev, observed: 10, kept: 10, gaps: [], bridge: null };
    const bytes = sealBatch(header as unknown as BatchHeader, records, signer);
    prev = chainHead(bytes);
    yield bytes;
  }
}

describe('erasing a device', () => {
  it('is for admins, and of devices that are there', async () => {
    const { device } = await enrolled();
    expect((await erase(device, 'operator')).status).toBe(403);
    expect((await server.people('GET', `/v1/devices/${device}/erasure`, { role: 'operator' })).status).toBe(
      403,
    );
    expect(await erase('d-nowhere')).toMatchObject({ status: 404, body: { code: 'NOT_FOUND' } });
    expect((await server.people('GET', '/v1/erasures/p-none')).status).toBe(404);
    expect((await server.people('GET', `/v1/devices/${device}`)).status).toBe(200);
  });

  it('leaves nothing of it, although it goes on sending to the end', async () => {
    const device = await enrolled();
    const id = device.device;
    const name = 'greenhouse-of-jane';
    await server.people('PATCH', `/v1/devices/${id}`, { body: { name } });
    const topic = (channel: keyof typeof CHANNELS) => topicFor(device.fleet, id, channel);
    const status = { online: 1, session: 's', boot: 'b', agentVersion: '1' };
    const lastWords = Buffer.from(JSON.stringify({ ...status, online: 0 }));
    const { mqtt, closed } = await connectClient(`mqtts://localhost:${server.running.ports.mqtts}`, {
      ...{ key: device.key, cert: device.certificate, ca: device.ca, clientId: id },
      will: { topic: topic('status'), payload: lastWords, qos: 1, retain: true },
    });
    for (const channel of ['status', 'hello', 'state', 'update'] as const)
      await mqtt.publishAsync(topic(channel), JSON.stringify(status), { qos: 1, retain: true });
    const sending = (async () => {
      for (const bytes of batches(id, device.fleet)) {
        if (!mqtt.connected) return;
        const sent = mqtt.publishAsync(topic('batch/predictions'), Buffer.from(bytes), { qos: 1 });
        await Promise.race([sent.catch(() => {}), closed]);
      }
    })();
    const { store } = server.running;
    await expect.poll(async () => (await placesOf(store, id)).includes('batches.device')).toBe(true);
    const plan = await server.people('GET', `/v1/devices/${id}/erasure`);
    expect(plan.body).toMatchObject({ device: id, name, topics: Object.keys(CHANNELS).length });
    const began = Date.now();
    const { body } = await erase(id);
    await closed;
    expect(Date.now() - began).toBeLessThan(5_000);
    await sending;
    const view = await untilDone(body.pseudonym);
    expect(view).toMatchObject({ trouble: null, by: 'key:admin', search: { found: 0 } });
    expect(view.removed.map(({ kind }) => kind)).toEqual(
      expect.arrayContaining(['batches predictions', 'stream ledgers', 'enrolment', 'audit details']),
    );
    for (const text of [id, name]) expect(await placesOf(store, text)).toEqual([]);
    for (const text of [id, name]) expect(inFiles(text)).toEqual([]);
    await nothingRetained(id);
    await isRefused(device);
    await server.restart();
    await isRefused(device);
    for (const text of [id, name]) expect(inFiles(text)).toEqual([]);
  });

  it('is proven in the audit log under its pseudonym, and done but once', async () => {
    const { device } = await enrolled(testSigner('other').publicKey);
    const { body } = await erase(device);
    const { auditSeq } = await untilDone(body.pseudonym);
    const { items } = (await server.people('GET', '/v1/audit')).body as { items: Record<string, unknown>[] };
    const entry = items.find(({ seq }) => seq === auditSeq);
    expect(entry).toMatchObject({ actor: 'key:admin', action: 'eraseDevice', subject: body.pseudonym });
    expect(items.filter(({ action }) => action === 'eraseDevice')).toHaveLength(2);
    expect((await server.people('GET', '/v1/audit/verify')).body).toMatchObject({ holds: true });
    expect(await erase(device)).toMatchObject({
      status: 404,
      body: { detail: expect.stringContaining('has been erased already') },
    });
    expect((await server.people('GET', '/v1/erasures')).body.items).toHaveLength(2);
  });

  it('makes whoever watches read the lists again', async () => {
    const { device } = await enrolled(testSigner('third').publicKey);
    const stop = new AbortController();
    const response = await fetch(`http://127.0.0.1:${server.running.ports.http}/v1/events`, {
      headers: { authorization: `Bearer ${server.keys.viewer}` },
      signal: stop.signal,
    });
    const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
    await erase(device);
    let text = '';
    while (!text.includes('event: reset')) text += (await reader.read()).value ?? '';
    stop.abort();
    const { items } = (await server.people('GET', '/v1/devices')).body as { items: { id: string }[] };
    expect(items.map(({ id }) => id)).not.toContain(device);
  });

  it('refuses its report key for ever', async () => {
    const { device } = await enrolled(Buffer.from('ab'.repeat(32), 'hex'));
    const { body } = await erase(device);
    await untilDone(body.pseudonym);
    await expect(server.enrol()).rejects.toThrow(/never enrols again.*FORBIDDEN/);
  });
});

async function isRefused(device: EnrolledDevice): Promise<void> {
  await expect(device.connect()).rejects.toThrow();
  const tls = { key: device.key, cert: device.certificate };
  expect((await server.device('GET', '/v1/director/targets.json', { tls })).status).toBe(401);
}

/** Another device's message, retained by the same broker, came: this one's would have come with it. */
async function nothingRetained(id: string): Promise<void> {
  const marker = await enrolled(testSigner('marker').publicKey);
  const { mqtt } = await marker.connect();
  const topic = topicFor(marker.fleet, marker.device, 'state');
  await mqtt.publishAsync(topic, '{"ts":1}', { qos: 1, retain: true });
  const reader = await connectClient(`mqtt://127.0.0.1:${server.running.ports.mqtt}`);
  await reader.mqtt.subscribeAsync('skein/#', { qos: 1 });
  await reader.until((message) => message.topic === topic);
  await reader.mqtt.subscribeAsync('skein/v1/none', { qos: 1 });
  expect(reader.received.filter((message) => message.topic.includes(id))).toEqual([]);
  await Promise.all([reader.mqtt.endAsync(), mqtt.endAsync()]);
}
