import { createHash, randomBytes, X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { serverProblem, type TlsTrust } from '../../../agent/src/identity/http-tls.ts';
import { x509Identity } from '../../../agent/src/identity/x509-identity.ts';
import { systemClock } from '../../../agent/src/system-clock.ts';
import { httpFetcher } from '../../../agent/src/update/http-fetcher.ts';
import { openX509Authority } from '../../../fleet-server/src/fleet/x509-authority.ts';
import { manualClock } from '../manual-clock.ts';

const folder = mkdtempSync(join(tmpdir(), 'skein-fetch-'));
const blob = new Uint8Array(randomBytes(200_000));
const sha256 = createHash('sha256').update(blob).digest('hex');
let server: Server;
let url: string;
let trust: TlsTrust;
let evilCa: string;
let serverCertificate: string;
let answer: (request: IncomingMessage, response: ServerResponse) => void;
const seen: { url?: string; device?: string; range?: string }[] = [];

beforeAll(async () => {
  const authority = await openX509Authority(join(folder, 'ca'), systemClock);
  evilCa = (await openX509Authority(join(folder, 'evil'), systemClock)).ca;
  const tls = await authority.serverTls(['localhost', '127.0.0.1']);
  serverCertificate = tls.cert;
  const { tlsKey, csr } = await x509Identity.newTlsKey();
  const { certificate } = await authority.signDevice(csr, 'd-one');
  trust = { ca: authority.ca, certificate, key: tlsKey };
  server = createServer({ ...tls, requestCert: true, rejectUnauthorized: true }, (request, response) => {
    const peer = (request.socket as import('node:tls').TLSSocket).getPeerCertificate();
    seen.push({ url: request.url, device: peer.subject.CN as string, range: request.headers.range });
    answer(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
beforeEach(() => {
  seen.length = 0;
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
  rmSync(folder, { recursive: true, force: true });
});

const sendBlob = (request: IncomingMessage, response: ServerResponse, bytes = blob, etag = sha256) => {
  const from = Number(/bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1] ?? 0);
  const partial = from > 0 && request.headers['if-range'] === `"${etag}"`;
  const range = `bytes ${from}-${bytes.length - 1}/${bytes.length}`;
  response.writeHead(partial ? 206 : 200, {
    etag: `"${etag}"`,
    ...(partial ? { 'content-range': range } : {}),
  });
  response.end(partial ? bytes.subarray(from) : bytes);
};

const use = async <T>(
  run: (fetcher: ReturnType<typeof httpFetcher>) => Promise<T>,
  with_ = trust,
): Promise<T> => {
  const fetcher = httpFetcher(url, () => with_, systemClock);
  try {
    return await run(fetcher);
  } finally {
    fetcher.close();
  }
};
const all = async (chunks: AsyncIterable<Uint8Array>) => {
  const parts: Uint8Array[] = [];
  for await (const chunk of chunks) parts.push(chunk);
  return new Uint8Array(Buffer.concat(parts));
};

/** A minute of hardly anything ends `read`. */
async function tooSlow(clock: ReturnType<typeof manualClock>, read: Promise<unknown>): Promise<void> {
  read.catch(() => {});
  await expect.poll(() => clock.pendingTimers()).toBe(1);
  await clock.advance(60_000);
  await expect(read).rejects.toMatchObject({
    code: 'UNREACHABLE',
    message: expect.stringMatching(/too slow/),
  });
}

describe('documents', () => {
  it('come over mTLS under the device’s own name', async () => {
    answer = (_request, response) => response.end('{"signed":{}}');
    const bytes = await use((fetcher) => fetcher.document('/v1/image/timestamp.json', 1000));
    expect(Buffer.from(bytes!).toString()).toBe('{"signed":{}}');
    expect(seen).toEqual([expect.objectContaining({ url: '/v1/image/timestamp.json', device: 'd-one' })]);
  });

  it('that do not exist are undefined, and no redirect is followed', async () => {
    answer = (_request, response) => response.writeHead(404).end('{}');
    expect(await use((fetcher) => fetcher.document('/v1/image/9.root.json', 1000))).toBeUndefined();
    answer = (_request, response) => response.writeHead(302, { location: '/elsewhere' }).end();
    await expect(use((fetcher) => fetcher.document('/v1/image/1.root.json', 1000))).rejects.toMatchObject({
      code: 'UNREACHABLE',
    });
    expect(seen).toHaveLength(2);
  });

  it('are cut off at their cap, announced or not', async () => {
    answer = (_request, response) => {
      response.writeHead(200);
      const pour = () => {
        while (response.write('x'.repeat(10_000)));
        response.once('drain', pour);
      };
      pour();
    };
    await expect(use((fetcher) => fetcher.document('/v1/image/1.root.json', 50_000))).rejects.toMatchObject({
      code: 'PAYLOAD_TOO_LARGE',
    });
  });

  it.each([200, 500])('that trickle are given up, so that no refresh hangs (status %i)', async (status) => {
    const clock = manualClock();
    answer = (_request, response) => {
      response.writeHead(status, { 'content-length': 1000 });
      response.write('{');
    };
    const fetcher = httpFetcher(url, () => trust, clock);
    await tooSlow(clock, fetcher.document('/v1/image/timestamp.json', 16_000));
    expect(clock.pendingTimers()).toBe(0);
    fetcher.close();
  });

  it('with headers beyond any measure are refused before they are held', async () => {
    answer = (request) => {
      request.socket.write('HTTP/1.1 200 OK\r\nx-much: ');
      const pour = () => {
        while (request.socket.write('x'.repeat(10_000)));
        request.socket.once('drain', pour);
      };
      pour();
    };
    const before = process.memoryUsage().rss;
    await expect(use((f) => f.document('/v1/image/1.root.json', 50_000))).rejects.toMatchObject({
      code: 'UNREACHABLE',
    });
    expect(process.memoryUsage().rss - before).toBeLessThan(64 << 20);
  });

  it('carry the server’s own problem', async () => {
    answer = (_request, response) =>
      response.writeHead(403).end('{"code":"FORBIDDEN","detail":"revoked","fix":"Enrol again."}');
    await expect(use((fetcher) => fetcher.document('/v1/image/1.root.json', 1000))).rejects.toMatchObject({
      code: 'FORBIDDEN',
      fix: 'Enrol again.',
    });
  });

  it('are not taken from a server of another CA', async () => {
    answer = (_request, response) => response.end('{}');
    await expect(
      use((f) => f.document('/v1/image/1.root.json', 1000), { ...trust, ca: evilCa }),
    ).rejects.toMatchObject({
      code: 'SERVER_NOT_TRUSTED',
    });
    expect(seen).toEqual([]);
  });

  it('from nobody are UNREACHABLE with what to do', async () => {
    const fetcher = httpFetcher('https://127.0.0.1:1', () => trust, systemClock);
    await expect(fetcher.document('/v1/image/1.root.json', 1000)).rejects.toMatchObject({
      code: 'UNREACHABLE',
      fix: expect.stringMatching(/network/),
    });
    fetcher.close();
  });
});

describe('blobs', () => {
  it('arrive whole, and from an offset with If-Range', async () => {
    answer = sendBlob;
    expect(await use((f) => all(f.blob(sha256, 0, blob.length)))).toEqual(blob);
    expect(await use((f) => all(f.blob(sha256, 150_000, blob.length)))).toEqual(blob.slice(150_000));
    expect(seen.map((s) => s.range)).toEqual([undefined, 'bytes=150000-']);
  });

  it('of another content or length are refused', async () => {
    answer = (request, response) => sendBlob(request, response, blob, 'f'.repeat(64));
    await expect(use((f) => all(f.blob(sha256, 0, blob.length)))).rejects.toMatchObject({
      code: 'DOWNLOAD_FAILED',
    });
    await expect(use((f) => all(f.blob(sha256, 10, blob.length)))).rejects.toMatchObject({
      code: 'DOWNLOAD_FAILED',
    });
    answer = sendBlob;
    await expect(use((f) => all(f.blob(sha256, 0, 1000)))).rejects.toMatchObject({ code: 'DOWNLOAD_FAILED' });
    answer = (_request, response) => response.writeHead(404).end();
    await expect(use((f) => all(f.blob(sha256, 0, 1000)))).rejects.toMatchObject({ code: 'DOWNLOAD_FAILED' });
  });

  it('that break off are UNREACHABLE, so the download is resumed', async () => {
    answer = (_request, response) => {
      response.writeHead(200, { 'content-length': blob.length });
      response.write(blob.subarray(0, 100_000), () => response.destroy());
    };
    await expect(use((f) => all(f.blob(sha256, 0, blob.length)))).rejects.toMatchObject({
      code: 'UNREACHABLE',
    });
  });

  it('that trickle are given up', async () => {
    const clock = manualClock();
    answer = (_request, response) => {
      response.writeHead(200, { 'content-length': blob.length });
      response.write('x');
    };
    const fetcher = httpFetcher(url, () => trust, clock);
    await tooSlow(clock, all(fetcher.blob(sha256, 0, blob.length)));
    fetcher.close();
  });
});

describe('a device without a clock', () => {
  it('takes the right server at its time floor, and refuses an attacker’s CA and a wrong name there', async () => {
    const certificate = new X509Certificate(serverCertificate);
    const floor = Date.now();
    expect(serverProblem(certificate, trust.ca, '127.0.0.1', floor)).toBeUndefined();
    expect(serverProblem(certificate, evilCa, '127.0.0.1', floor)).toMatch(/not from the fleet’s CA/);
    expect(serverProblem(certificate, trust.ca, 'elsewhere.example', floor)).toMatch(/does not name/);
    const over = Date.parse(certificate.validTo) + 1;
    expect(serverProblem(certificate, trust.ca, '127.0.0.1', over)).toMatch(/has expired/);
  });

  it('fetches through a connection checked at the floor', async () => {
    answer = (_request, response) => response.end('{}');
    const at = { ...trust, verifyAt: Date.now() };
    expect(await use((f) => f.document('/v1/image/1.root.json', 100), at)).toEqual(
      new Uint8Array(Buffer.from('{}')),
    );
    expect(seen).toEqual([expect.objectContaining({ device: 'd-one' })]);
    await expect(
      use((f) => f.document('/v1/image/1.root.json', 100), { ...at, ca: evilCa }),
    ).rejects.toMatchObject({
      code: 'SERVER_NOT_TRUSTED',
    });
    await expect(
      use((f) => f.document('/v1/image/1.root.json', 100), {
        ...at,
        verifyAt: Date.now() + 400 * 86_400_000,
      }),
    ).rejects.toMatchObject({
      code: 'SERVER_NOT_TRUSTED',
    });
    expect(seen).toHaveLength(1);
  });
});
