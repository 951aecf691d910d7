/** What a device sees over real HTTP: its own documents, blobs by range. */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { initKeys } from '@skein/fleet-server/cli/init-keys.ts';
import { directorRoutes } from '@skein/fleet-server/http/director-routes.ts';
import { createIdempotency } from '@skein/fleet-server/http/idempotency.ts';
import { createMetrics } from '@skein/fleet-server/http/metrics.ts';
import { createApp, type HttpPort, listenApp, registerRoutes } from '@skein/fleet-server/http/server.ts';
import { nativeVerify, systemEntropy } from '@skein/fleet-server/system-clock.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Desk, openDesk } from '../models/desk.ts';
import { hashOf } from '../models/small-model.ts';

let desk: Desk;
let port: HttpPort;
const blob = randomBytes(200_000);
const sha = hashOf(blob);

beforeAll(async () => {
  desk = await openDesk();
  await initKeys({ api: desk.api, dir: join(desk.folder, 'keys'), clock: desk.clock, verify: nativeVerify });
  await desk.blobs.write(
    sha,
    (async function* () {
      yield blob;
    })(),
    blob.length,
  );
  const app = createApp();
  const silent = { info() {}, warn() {}, error() {} };
  const metrics = createMetrics({
    devices: () => 0,
    devicesOnline: () => 0,
    streamClients: () => 0,
  });
  const handlers = directorRoutes({
    repository: desk.repository,
    director: desk.director,
    blobs: desk.blobs,
    store: desk.store,
  });
  const { store, clock } = desk;
  const idempotency = createIdempotency(store, clock);
  const entropy = systemEntropy;
  const deps = { store, clock, entropy, log: silent, metrics, handlers, idempotency, maxBlobBytes: 1e6 };
  // The certificate's common name, as the device port would take it from TLS.
  registerRoutes(app, 'device', deps, {
    identify: async ({ headers }) => {
      const device = headers['x-test-device']?.toString();
      return device ? { device, actor: { name: `device:${device}`, role: 'viewer' } } : {};
    },
  });
  port = await listenApp(app, { host: '127.0.0.1', port: 0, variable: 'NONE' });
});
afterAll(async () => {
  await port.close();
  await desk.close();
});

const get = (path: string, headers: Record<string, string> = {}) =>
  fetch(`http://127.0.0.1:${port.port}${path}`, { headers: { 'x-test-device': 'd-one', ...headers } });
const bytesOf = async (response: Response) => Buffer.from(await response.arrayBuffer());

describe('metadata', () => {
  it('is served as the very bytes that were signed', async () => {
    const roots = await desk.repository.latestRoots();
    expect(await bytesOf(await get('/v1/image/1.root.json'))).toEqual(Buffer.from(roots!.image));
    expect(await bytesOf(await get('/v1/director/1.root.json'))).toEqual(Buffer.from(roots!.director));
    const timestamp = JSON.parse((await bytesOf(await get('/v1/image/timestamp.json'))).toString());
    const { version } = timestamp.signed.meta['snapshot.json'];
    expect((await get(`/v1/image/${version}.snapshot.json`)).status).toBe(200);
    expect((await get('/v1/image/1.targets.json')).status).toBe(200);
  });

  it.each([
    '/v1/image/2.root.json',
    '/v1/image/0.root.json',
    '/v1/image/targets.json',
    '/v1/image/1.ack.json',
    '/v1/image/..%2f..%2fstore.db',
    '/v1/director/timestamp.json',
    '/v1/director/1.targets.json',
    '/v1/director/2.root.json',
  ])('has nothing at %s', async (path) => {
    const response = await get(path);
    expect(response.status).toBe(404);
    expect(await response.json()).toMatchObject({ code: 'NOT_FOUND' });
  });

  it('gives each device its own director document, by its certificate alone', async () => {
    for (const device of ['d-one', 'd-two']) {
      const response = await get('/v1/director/targets.json', { 'x-test-device': device });
      const { signed } = (await response.json()) as { signed: { custom: { skein: string } } };
      expect(JSON.parse(signed.custom.skein)).toMatchObject({ device });
    }
    expect((await get('/v1/director/targets.json', { 'x-test-device': '' })).status).toBe(401);
  });

  it('signs a director document again only when there is something new to say', async () => {
    const read = async () => bytesOf(await get('/v1/director/targets.json'));
    const first = await read();
    expect(await read()).toEqual(first);
    await desk.director.set('d-one', 'gas', null, null);
    expect(await read()).toEqual(first);
  });
});

describe('a blob', () => {
  const path = `/v1/blobs/${sha}`;

  it('comes whole, with its hash as validator', async () => {
    const response = await get(path);
    expect(response.status).toBe(200);
    expect(response.headers.get('etag')).toBe(`"${sha}"`);
    expect(response.headers.get('content-length')).toBe('200000');
    expect(await bytesOf(response)).toEqual(blob);
  });

  it.each([
    ['bytes=0-0', 0, 1],
    ['bytes=150000-', 150_000, 200_000],
    ['bytes=10-99', 10, 100],
    ['bytes=199999-500000', 199_999, 200_000],
    ['bytes=-100', 199_900, 200_000],
    ['bytes=-999999', 0, 200_000],
  ])('is resumed by Range %s', async (range, start, end) => {
    const response = await get(path, { range, 'if-range': `"${sha}"` });
    expect(response.status).toBe(206);
    expect(response.headers.get('content-range')).toBe(`bytes ${start}-${end - 1}/200000`);
    expect(response.headers.get('content-length')).toBe(String(end - start));
    expect(await bytesOf(response)).toEqual(blob.subarray(start, end));
  });

  it.each(['bytes=200000-', 'bytes=-0'])('refuses Range %s beyond its end', async (range) => {
    const response = await get(path, { range });
    expect(response.status).toBe(416);
    expect(response.headers.get('content-range')).toBe('bytes */200000');
    await response.arrayBuffer();
  });

  it.each([
    ['another validator', { range: 'bytes=5-', 'if-range': '"other"' }],
    ['a weak validator', { range: 'bytes=5-', 'if-range': `W/"${sha}"` }],
    ['several ranges', { range: 'bytes=0-1,5-9' }],
    ['another unit', { range: 'lines=1-2' }],
    ['an end before its start', { range: 'bytes=9-5' }],
  ])('comes whole upon %s', async (_, headers) => {
    const response = await get(path, headers);
    expect(response.status).toBe(200);
    expect(await bytesOf(response)).toEqual(blob);
  });

  it('that is not there is not found, and a name that is no hash is refused', async () => {
    expect((await get(`/v1/blobs/${hashOf('nothing')}`)).status).toBe(404);
    expect((await get('/v1/blobs/..%2fstore.db')).status).toBe(400);
  });
});
