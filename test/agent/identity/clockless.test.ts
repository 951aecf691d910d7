/**
 * A device whose clock is behind every certificate it meets, as at a boot in 1970, over real TLS: OpenSSL calls the right
 * certificate and an attacker's alike `CERT_NOT_YET_VALID`. Here the clock is this machine's own and the fleet was made
 * ten years later, which is the same to OpenSSL.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer as createHttps } from 'node:https';
import { type AddressInfo, createServer as createTcp, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, createServer as createTls, type TlsOptions } from 'node:tls';
import { enrol } from '@skein/agent/identity/enroll.ts';
import { httpEnrolServer } from '@skein/agent/identity/http-enroll.ts';
import { believable, connectJudged, startOf, type TlsTrust } from '@skein/agent/identity/http-tls.ts';
import type { Identity } from '@skein/agent/identity/identity.ts';
import { enrolledFrom, x509Identity } from '@skein/agent/identity/x509-identity.ts';
import { systemClock, systemEntropy } from '@skein/agent/system-clock.ts';
import { httpFetcher } from '@skein/agent/update/http-fetcher.ts';
import { openMqttLink } from '@skein/agent/uplink/mqtt-link.ts';
import { brokerTls } from '@skein/agent/uplink/mqtt-tls.ts';
import { openX509Authority, type X509Authority } from '@skein/fleet-server/fleet/x509-authority.ts';
import { formatClaimToken, trustHash } from '@skein/protocol/enrolment.ts';
import { DAY } from '@skein/protocol/units.ts';
import { Aedes } from 'aedes';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { silent } from '../../contracts/broker-parties.ts';

const folder = mkdtempSync(join(tmpdir(), 'skein-1970-'));
/** When fleet and attacker made their CAs. */
const MADE = Date.now() + 3650 * DAY;
const HOSTS = ['localhost', '127.0.0.1'];
const bytes = (text: string) => new TextEncoder().encode(text);
const base64 = (raw: Uint8Array) => Buffer.from(raw).toString('base64');

let time = MADE;
let fleet: X509Authority;
let evil: X509Authority;
let device: Pick<TlsTrust, 'ca' | 'certificate' | 'key'>;
const open: Server[] = [];

const at = (folderName: string, now: number) => {
  time = now;
  return openX509Authority(join(folder, folderName), { ...systemClock, now: () => time });
};
/** What its server shows that was given a certificate at `now`. */
async function tlsOf(name: string, authority: X509Authority, now = MADE) {
  time = now;
  const { cert, key } = await authority.serverTls([...HOSTS, `${name}.example`]);
  return { cert, key, requestCert: true, rejectUnauthorized: false } satisfies TlsOptions;
}
async function listening(server: Server): Promise<number> {
  open.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}

beforeAll(async () => {
  fleet = await at('fleet', MADE);
  evil = await at('evil', MADE);
  const { csr, tlsKey } = await x509Identity.newTlsKey();
  device = { ca: fleet.ca, certificate: (await fleet.signDevice(csr, 'd-one')).certificate, key: tlsKey };
});
afterEach(() => {
  for (const server of open.splice(0)) server.close();
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** As the agent makes it: `floor` is the highest time it has reason to believe. */
const trustAt = (floor: number, ca = fleet.ca): TlsTrust => ({
  ...device,
  ca,
  ...believable(Date.now(), floor),
});

describe('OpenSSL by itself', () => {
  it('can not tell the right CA from an attacker’s before both of them began', async () => {
    for (const authority of [fleet, evil]) {
      const port = await listening(createTls(await tlsOf('plain', authority)));
      const code = await new Promise((resolve) => {
        const socket = connect({ host: '127.0.0.1', port, ca: fleet.ca });
        socket.once('error', (error: Error & { code?: string }) => resolve(error.code));
      });
      expect(code).toBe('CERT_NOT_YET_VALID');
    }
  });
});

describe('HTTPS', () => {
  async function fetchFrom(options: TlsOptions, trust: TlsTrust, host = '127.0.0.1') {
    const asked: (string | undefined)[] = [];
    const server = createHttps(options, (request, response) => {
      asked.push(request.url);
      response.end('{}');
    });
    const port = await listening(server);
    const fetcher = httpFetcher(`https://${host}:${port}`, () => trust, systemClock);
    try {
      const got = await fetcher.document('/v1/image/1.root.json', 100).catch((thrown: unknown) => thrown);
      return { got, asked: asked.length };
    } finally {
      fetcher.close();
      server.closeAllConnections();
    }
  }

  it('is answered by the right server at the floor', async () => {
    expect(await fetchFrom(await tlsOf('a', fleet), trustAt(MADE))).toEqual({
      got: new Uint8Array(bytes('{}')),
      asked: 1,
    });
  });

  it('is refused from an attacker’s CA, which is asked nothing', async () => {
    expect(await fetchFrom(await tlsOf('b', evil), trustAt(MADE))).toEqual({
      got: expect.objectContaining({ code: 'SERVER_NOT_TRUSTED' }),
      asked: 0,
    });
  });

  it('asks for the clock where no floor is known, and trusts nobody meanwhile', async () => {
    for (const authority of [fleet, evil]) {
      expect(await fetchFrom(await tlsOf('c', authority), trustAt(0))).toEqual({
        got: expect.objectContaining({ code: 'UNREACHABLE', fix: expect.stringMatching(/clock/) }),
        asked: 0,
      });
    }
  });

  it('goes on when the server was given a new certificate after the floor', async () => {
    const renewed = await tlsOf('renewed', fleet, MADE + 300 * DAY);
    expect((await fetchFrom(renewed, trustAt(MADE + DAY))).asked).toBe(1);
  });

  it('is refused from a certificate that ended before the floor', async () => {
    expect(await fetchFrom(await tlsOf('old', fleet), trustAt(MADE + 400 * DAY))).toEqual({
      got: expect.objectContaining({ code: 'SERVER_NOT_TRUSTED', message: expect.stringMatching(/expired/) }),
      asked: 0,
    });
  });

  it('is refused from a device of the fleet that plays the server, and under another name', async () => {
    const { csr, tlsKey: key } = await x509Identity.newTlsKey();
    const { certificate: cert } = await fleet.signDevice(csr, 'localhost');
    expect(await fetchFrom({ cert, key }, trustAt(MADE), 'localhost')).toEqual({
      got: expect.objectContaining({
        code: 'SERVER_NOT_TRUSTED',
        message: expect.stringMatching(/server’s/),
      }),
      asked: 0,
    });
    time = MADE;
    const elsewhere = await (await at('fleet', MADE)).serverTls(['elsewhere.example']);
    expect((await fetchFrom(elsewhere, trustAt(MADE))).asked).toBe(0);
  });
});

describe('MQTT', () => {
  async function connectTo(authority: X509Authority, trust: TlsTrust) {
    const broker = await Aedes.createBroker();
    const clients: string[] = [];
    broker.on('client', (client) => clients.push(client.id));
    const server = createTls(await tlsOf('mqtt', authority), broker.handle as never);
    const url = `mqtts://127.0.0.1:${await listening(server)}`;
    const link = openMqttLink({
      ...{ url, fleet: 'home', device: 'd-one', keepaliveMs: 60_000, will: () => '{}' },
      ...{ clock: systemClock, entropy: systemEntropy, reconnect: { baseMs: 60_000, capMs: 60_000 } },
      tls: brokerTls(url, () => trust),
      log: { ...silent, info: said, warn: said },
    });
    let refuse: (reason: string) => void = () => {};
    function said(_: string, fields?: object) {
      const reason = JSON.stringify(fields ?? {});
      if (/reason|error/.test(reason)) refuse(reason);
    }
    const outcome = new Promise<string>((resolve) => {
      refuse = resolve;
      link.onConnect(() => resolve('connected'));
      link.start();
    });
    const was = await outcome;
    await link.stop();
    await new Promise<void>((resolve) => broker.close(() => resolve()));
    return { was, clients };
  }

  it('connects to the right broker at the floor, under the device’s name', async () => {
    expect(await connectTo(fleet, trustAt(MADE))).toEqual({ was: 'connected', clients: ['d-one'] });
  });

  it('is refused from an attacker’s CA, to which nothing is said', async () => {
    const { was, clients } = await connectTo(evil, trustAt(MADE));
    expect(was).toMatch(/not from the fleet’s CA/);
    expect(clients).toEqual([]);
  });
});

describe('enrolment', () => {
  /** A server that shows the fleet's CA, as whoever stands between may, and keeps what it is sent. */
  async function enrolAt(authority: X509Authority) {
    const sent: string[] = [];
    const [image, director] = [bytes('image'), bytes('director')];
    const server = createHttps(await tlsOf('enrol', authority), async (request, response) => {
      if (request.method === 'GET') {
        const [ca, ...roots] = [bytes(fleet.ca), image, director].map(base64);
        return response.end(JSON.stringify({ ca, image: roots[0], director: roots[1] }));
      }
      let body = '';
      for await (const chunk of request) body += chunk;
      sent.push(body);
      const { certificate } = await fleet.signDevice(JSON.parse(body).csr, 'd-one');
      const urls = { deviceUrl: 'https://fleet:8443', mqttUrl: 'mqtts://fleet:8883' };
      return response.end(
        JSON.stringify({ device: 'd-one', fleet: 'home', certificate, ca: fleet.ca, ...urls }),
      );
    });
    const url = `https://127.0.0.1:${await listening(server)}`;
    let saved: Identity | undefined;
    const clock = { ...systemClock, now: () => 0 };
    const deps = {
      ...{ server: httpEnrolServer(url, clock), keys: x509Identity, clock, pin: () => {} },
      store: { load: () => undefined, save: (identity: Identity) => (saved = identity) },
    };
    const trust = trustHash(bytes(fleet.ca), image, director);
    const token = formatClaimToken({ id: 'abcd', secret: 'S'.repeat(24), trust });
    const failure = await enrol(deps as never, token).then(
      () => undefined,
      (thrown: { code: string }) => thrown.code,
    );
    server.closeAllConnections();
    return { failure, sent: sent.length, saved };
  }

  it('works in 1970, and from then on it is not before the CA was made', async () => {
    const { failure, saved } = await enrolAt(fleet);
    expect(failure).toBeUndefined();
    expect(saved!.enrolledAt).toBe(0);
    expect(enrolledFrom(saved!)).toBe(startOf(fleet.ca));
    expect(believable(0, enrolledFrom(saved!))).toEqual({ verifyAt: startOf(fleet.ca) });
  });

  it('sends an attacker who shows the right CA no secret', async () => {
    expect(await enrolAt(evil)).toEqual({ failure: 'SERVER_NOT_TRUSTED', sent: 0, saved: undefined });
  });
});

describe('a peer that takes the connection and says nothing', () => {
  it('is given up', async () => {
    const server = createTcp();
    const port = await listening(server);
    const pending = connectJudged({ host: '127.0.0.1', port }, () => undefined, 50);
    await expect(pending).rejects.toThrow(/no handshake/);
  });
});
