import { X509Certificate } from 'node:crypto';
import { connect } from 'node:tls';
import { bytesToHex } from '@noble/hashes/utils.js';
import { nativeSigner } from '@skein/fleet-server/system-clock.ts';
import type { EnrolTrust } from '@skein/protocol/api.ts';
import { parseClaimToken, renewalBytes, trustHash } from '@skein/protocol/enrolment.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connectClient, makeRequest } from '../../contracts/broker-parties.ts';
import { putTestRoots, startTestServer, type TestServer } from '../running-server.ts';

let server: TestServer;

beforeAll(async () => {
  server = await startTestServer();
});
afterAll(() => server.close());

const enrolWith = async (token: string, csr?: string) =>
  server.device('POST', '/v1/enrol', {
    body: { token, reportKey: '00'.repeat(32), csr: csr ?? (await makeRequest()).csr },
  });
const spoken = (token: string) => token.split('.').slice(0, 2).join('.');

describe('enrolment', () => {
  it('is refused until both signed roots are there', async () => {
    expect((await server.people('POST', '/v1/tokens', { body: {} })).body).toMatchObject({
      status: 409,
      code: 'CONFLICT',
      fix: expect.stringContaining('skein keys init'),
    });
    expect((await server.device('GET', '/v1/enrol/trust')).status).toBe(409);
    expect((await server.people('GET', '/v1/server')).body.trustReady).toBe(false);
    await putTestRoots(server);
    expect((await server.people('GET', '/v1/server')).body.trustReady).toBe(true);
  });

  it('makes tokens whose third part is the hash of what the server then shows', async () => {
    const token = parseClaimToken(await server.token());
    const trust = (await server.device('GET', '/v1/enrol/trust')).body as unknown as EnrolTrust;
    const [ca, image, director] = [trust.ca, trust.image, trust.director].map((t) =>
      Buffer.from(t, 'base64'),
    );
    expect(trustHash(ca!, image!, director!)).toBe(token.trust);
    expect(new X509Certificate(ca!).ca).toBe(true);
    expect(trustHash(ca!, director!, image!)).not.toBe(token.trust);
  });

  it('serves TLS with a certificate that the CA of the token signed for this host', async () => {
    const trust = (await server.device('GET', '/v1/enrol/trust')).body as unknown as EnrolTrust;
    const ca = Buffer.from(trust.ca, 'base64');
    const options = { host: '127.0.0.1', port: server.running.ports.device, servername: 'localhost', ca };
    const authorized = await new Promise((resolve, reject) => {
      const socket = connect(options, () => {
        resolve(socket.authorized);
        socket.destroy();
      });
      socket.on('error', reject);
    });
    expect(authorized).toBe(true);
  });

  it('gives a device an identity that works on both device ports, for a year, for itself only', async () => {
    const device = await server.enrol(await server.token({ groups: ['lab', 'roof'] }));
    const certificate = new X509Certificate(device.certificate);
    expect(certificate.subject).toBe(`CN=${device.device}`);
    expect(certificate.verify(new X509Certificate(device.ca).publicKey)).toBe(true);
    expect(certificate.keyUsage).toEqual(['1.3.6.1.5.5.7.3.2']);
    const days = (certificate.validToDate.getTime() - Date.now()) / 86_400_000;
    expect(days).toBeGreaterThan(364);
    expect(days).toBeLessThanOrEqual(365);
    const client = await device.connect();
    await client.mqtt.endAsync();
    const { body } = await server.people('GET', `/v1/devices/${device.device}`);
    expect(body).toMatchObject({ id: device.device, name: 'bench', groups: ['lab', 'roof'], revoked: false });
  });

  it('takes a token once, or as often as it says, and then says that it was used', async () => {
    const once = spoken(await server.token());
    expect((await enrolWith(once)).status).toBe(200);
    expect((await enrolWith(once)).body).toMatchObject({ status: 403, code: 'TOKEN_USED' });
    const twice = spoken(await server.token({ uses: 2 }));
    const answers = await Promise.all([
      enrolWith(twice),
      enrolWith(twice),
      enrolWith(twice),
      enrolWith(twice),
    ]);
    expect(answers.filter((a) => a.status === 200)).toHaveLength(2);
  });

  it('refuses an expired token and says what to do', async () => {
    const token = await server.token();
    await server.running.store.updateTable('tokens').set({ expires_at: 1 }).execute();
    expect((await enrolWith(spoken(token))).body).toMatchObject({
      status: 403,
      code: 'TOKEN_EXPIRED',
      fix: expect.stringContaining('skein tokens create'),
    });
  });

  it('refuses an unknown token and a wrong secret alike', async () => {
    const [id] = (await server.token()).split('.');
    expect((await enrolWith(`${id}.${'0'.repeat(64)}`)).body).toMatchObject({ code: 'TOKEN_INVALID' });
    expect((await enrolWith(`nosuchid.${'0'.repeat(64)}`)).body).toMatchObject({ code: 'TOKEN_INVALID' });
  });

  it('does not spend a token on a request that can not be signed', async () => {
    const token = spoken(await server.token());
    expect((await enrolWith(token, 'not a request')).body).toMatchObject({
      status: 400,
      code: 'REQUEST_INVALID',
      path: '/csr',
    });
    expect((await enrolWith(token)).status).toBe(200);
  });

  it('refuses a request that its own key did not sign', async () => {
    const { csr } = await makeRequest();
    const lines = csr.trim().split('\n');
    const bytes = Buffer.from(lines.slice(1, -1).join(''), 'base64');
    bytes[bytes.length - 3]! ^= 1;
    const forged = `${lines[0]}\n${bytes.toString('base64')}\n${lines.at(-1)}`;
    expect((await enrolWith(spoken(await server.token()), forged)).body).toMatchObject({
      code: 'REQUEST_INVALID',
    });
  });

  it('renews for the report key, also when the certificate is gone, and for no other key', async () => {
    const signer = nativeSigner(new Uint8Array(32).fill(7));
    const { csr } = await makeRequest();
    const enrolled = await server.device('POST', '/v1/enrol', {
      body: { token: spoken(await server.token()), reportKey: bytesToHex(signer.publicKey), csr },
    });
    const device = String(enrolled.body.device);
    const at = Date.now();
    const next = (await makeRequest()).csr;
    const sign = (by: typeof signer) => bytesToHex(by.sign(renewalBytes(device, at, next)));
    const renew = (signature: string) =>
      server.device('POST', '/v1/renew', { body: { device, csr: next, at, signature } });
    const renewed = await renew(sign(signer));
    expect(new X509Certificate(String(renewed.body.certificate)).subject).toBe(`CN=${device}`);
    const stranger = await renew(sign(nativeSigner(new Uint8Array(32).fill(8))));
    expect(stranger.body).toMatchObject({ status: 401, code: 'UNAUTHENTICATED' });
    await server.people('POST', `/v1/devices/${device}/revoke`, { body: {} });
    expect((await renew(sign(signer))).status).toBe(401);
  });
});

describe('an enrolled identity', () => {
  it('can not be used under another client id', async () => {
    const [a, b] = [await server.enrol(), await server.enrol()];
    const url = `mqtts://localhost:${server.running.ports.mqtts}`;
    const mine = { key: a.key, cert: a.certificate, ca: a.ca };
    const honest = await b.connect();
    await expect(connectClient(url, { ...mine, clientId: b.device })).rejects.toThrow(/not authorized/i);
    expect(honest.mqtt.connected).toBe(true);
    await honest.mqtt.endAsync();
  });

  it('is cut off and kept out within 5 s of its revocation', async () => {
    const device = await server.enrol();
    const client = await device.connect();
    const started = performance.now();
    await server.people('POST', `/v1/devices/${device.device}/revoke`, { body: {}, role: 'operator' });
    await client.closed;
    expect(performance.now() - started).toBeLessThan(5_000);
    await expect(device.connect()).rejects.toThrow();
  });

  it('survives a restart of the server', async () => {
    const device = await server.enrol();
    await server.restart();
    const client = await device.connect();
    await client.mqtt.endAsync();
    expect((await server.people('GET', `/v1/devices/${device.device}`)).status).toBe(200);
  });

  it('stays out of the local port: what it reads there is for reading only', async () => {
    const url = `mqtt://127.0.0.1:${server.running.ports.mqtt}`;
    const device = await server.enrol();
    const [reader, writer] = [
      await connectClient(url),
      await connectClient(url, { clientId: device.device }),
    ];
    await reader.mqtt.subscribeAsync('skein/#');
    const real = await device.connect();
    await real.mqtt.publishAsync(`skein/v1/home/${device.device}/state`, '{"ts":1}', {
      qos: 0,
      retain: true,
    });
    await reader.until((m) => m.payload === '{"ts":1}');
    writer.mqtt.publish(`skein/v1/home/${device.device}/state`, 'forged');
    await writer.closed;
    expect(real.mqtt.connected).toBe(true);
    expect(reader.received.map((m) => m.payload)).not.toContain('forged');
    await Promise.all([reader.mqtt.endAsync(), real.mqtt.endAsync()]);
  });

  it('is cut off when it announces a packet beyond the bound', async () => {
    const client = await (await server.enrol()).connect();
    client.mqtt.publish('skein/v1/home/x/state', Buffer.alloc(3 << 20), { qos: 0 });
    await expect(client.closed).resolves.toBeUndefined();
  });
});
