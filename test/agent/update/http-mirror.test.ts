import { createHash, randomBytes } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { MIB } from '@skein/protocol/units.ts';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { systemClock, systemEntropy } from '../../../agent/src/system-clock.ts';
import { downloadBlobs } from '../../../agent/src/update/blob-download.ts';
import { BlobSupply } from '../../../agent/src/update/blob-supply.ts';
import { Flights } from '../../../agent/src/update/flights.ts';
import { BRISK } from '../../../agent/src/update/http-blob.ts';
import { httpMirror, type Mirror } from '../../../agent/src/update/http-mirror.ts';
import type { BlobSource } from '../../../agent/src/update/ports.ts';
import { SimDisk, simSlots } from '../../sim/disk.ts';
import { manualClock } from '../manual-clock.ts';

const blob = randomBytes(MIB);
const sha256 = createHash('sha256').update(blob).digest('hex');
let server: Server;
let base: string;
let answer: (request: IncomingMessage, response: ServerResponse) => void;
const seen: { url: string | undefined; range: string | undefined; ifRange: string | undefined }[] = [];
const mirrors: Mirror[] = [];

beforeAll(async () => {
  server = createServer((request, response) => {
    const { range, 'if-range': ifRange } = request.headers;
    seen.push({ url: request.url, range, ifRange: ifRange?.toString() });
    answer(request, response);
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}/some/models`;
});
afterAll(() => {
  for (const mirror of mirrors) mirror.close();
  server.closeAllConnections();
  server.close();
});
beforeEach(() => {
  seen.length = 0;
});

/** As nginx answers: one range, If-Range against its own validator. */
function send(request: IncomingMessage, response: ServerResponse, bytes: Buffer, etag?: string): void {
  const [, first, last] = /bytes=(\d+)-(\d*)/.exec(request.headers.range ?? '') ?? [];
  const current = request.headers['if-range'] === undefined || request.headers['if-range'] === etag;
  const from = Number(first ?? 0);
  const end = last ? Number(last) + 1 : bytes.length;
  const partial = first !== undefined && current;
  const body = partial ? bytes.subarray(from, end) : bytes;
  response.writeHead(partial ? 206 : 200, {
    'content-length': body.length,
    ...(etag ? { etag } : {}),
    ...(partial ? { 'content-range': `bytes ${from}-${end - 1}/${bytes.length}` } : {}),
  });
  response.end(body);
}

const mirror = (clock = systemClock as Parameters<typeof httpMirror>[1]): Mirror => {
  const made = httpMirror(base, clock);
  mirrors.push(made);
  return made;
};
async function all(source: BlobSource, offset = 0, end?: number): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of source.blob(sha256, offset, blob.length, end)) chunks.push(chunk);
  return Buffer.concat(chunks);
}

describe('a mirror', () => {
  it('gives blobs under their hash, whole and in ranges, and is told nothing of the device', async () => {
    answer = (request, response) => {
      expect(Object.keys(request.headers).sort()).toEqual(
        ['connection', 'host', ...(request.headers.range ? ['range'] : [])].sort(),
      );
      send(request, response, blob);
    };
    const source = mirror();
    expect((await all(source)).equals(blob)).toBe(true);
    expect((await all(source, 1000, 5000)).equals(blob.subarray(1000, 5000))).toBe(true);
    expect(seen.map(({ url, range }) => [url, range])).toEqual([
      [`/some/models/${sha256}`, undefined],
      [`/some/models/${sha256}`, 'bytes=1000-4999'],
    ]);
  });

  it('whose file changes between two parts is found out at once by its validator', async () => {
    const source = mirror();
    answer = (request, response) => send(request, response, blob, '"before"');
    await all(source, 0, 100_000);
    answer = (request, response) =>
      send(request, response, blob.map((byte) => byte ^ 1) as Buffer, '"after"');
    await expect(all(source, 100_000)).rejects.toMatchObject({ code: 'DOWNLOAD_FAILED' });
    expect(seen.at(-1)).toMatchObject({ range: 'bytes=100000-', ifRange: '"before"' });
  });

  it.each([
    ['has no such file', 404, {}],
    ['sends it elsewhere', 302, { location: 'http://127.0.0.1:1/' }],
    ['has a file of another length', 200, { 'content-length': 5 }],
    ['answers another range', 206, { 'content-range': 'bytes 0-9/10' }],
    ['packs it', 200, { 'content-encoding': 'gzip', 'content-length': 10 }],
  ])('that %s is left', async (_, status, headers) => {
    answer = (_request, response) => response.writeHead(status, headers).end('12345');
    await expect(all(mirror())).rejects.toMatchObject({
      code: expect.stringMatching(/DOWNLOAD_FAILED|UNREACHABLE/),
    });
  });

  it('that pours without end is cut off at the size that was signed', async () => {
    answer = (_request, response) => {
      response.writeHead(200);
      const pour = () => {
        while (!response.destroyed && response.write(Buffer.alloc(65_536)));
        response.once('drain', pour);
      };
      pour();
    };
    let got = 0;
    const read = async () => {
      for await (const chunk of mirror().blob(sha256, 0, blob.length)) got += chunk.length;
    };
    await expect(read()).rejects.toMatchObject({ code: 'DOWNLOAD_FAILED' });
    expect(got).toBeLessThanOrEqual(blob.length);
  });

  it('that breaks off loses nothing of what had arrived', async () => {
    let sent = 0;
    answer = (request, response) => {
      response.writeHead(200, { 'content-length': blob.length });
      response.write(blob.subarray(0, 300_000), () => {
        sent = (request.socket as Socket).bytesWritten;
        response.destroy();
      });
    };
    let got = 0;
    const read = async () => {
      for await (const chunk of mirror().blob(sha256, 0, blob.length)) {
        got += chunk.length;
        // A slow disk: the connection breaks while this is written.
        await new Promise((done) => setTimeout(done, 20));
      }
    };
    await expect(read()).rejects.toMatchObject({ code: 'UNREACHABLE' });
    expect(sent).toBeGreaterThan(300_000);
    expect(got).toBe(300_000);
  });

  it('that trickles is told apart from one that is away', async () => {
    const clock = manualClock();
    answer = (_request, response) => {
      response.writeHead(200, { 'content-length': blob.length });
      response.write('x'.repeat(100));
    };
    const read = all(mirror(clock));
    read.catch(() => {});
    await expect.poll(() => clock.pendingTimers()).toBe(1);
    await clock.advance(2 * BRISK.windowMs);
    await expect(read).rejects.toMatchObject({ code: 'UNREACHABLE', data: { slow: true } });
  });
});

describe('two mirrors and a server', () => {
  it('one away, one lying: the blob comes from the server, and not a wrong byte stays', async () => {
    answer = (request, response) => send(request, response, blob.map((byte) => byte ^ 1) as Buffer);
    const away = httpMirror('http://127.0.0.1:1/', systemClock);
    mirrors.push(away);
    const origin: BlobSource = {
      name: 'server',
      kind: 'server',
      async *blob(_, offset, __, end) {
        yield blob.subarray(offset, end);
      },
    };
    const sources = [away, mirror(), origin];
    const quiet = { info() {}, warn() {}, error() {} };
    const supply = new BlobSupply({
      sources: () => sources,
      clock: systemClock,
      entropy: systemEntropy,
      log: quiet,
    });
    const disk = new SimDisk();
    const watch = { stale: () => false, progress: () => {} };
    const want = [{ sha256, size: blob.length }];
    expect(await downloadBlobs({ supply, flights: new Flights() }, simSlots(disk), want, watch)).toBe(true);
    expect(blob.equals(disk.blobs.get(sha256)!)).toBe(true);
    expect(seen).toHaveLength(1);
  });
});
