/**
 * Gives blobs to the other devices of the site: `GET /v1/blobs/<sha256>`, one range, over TLS with the fleet's own
 * certificates on both sides. Only a device of the fleet gets an answer, and only to the hash of a blob; it has that from
 * signed metadata, which a revoked device no longer gets. The devices' certificates are no servers' certificates, so
 * whoever asks checks the fleet's CA itself and no host name: which device answers does not matter, the hash decides.
 *
 * Bounds: `clientsMax` answers at once (503 beyond, come back), a request of 8 KiB within 10 s, a reader that takes nothing
 * for 30 s is cut off, and all answers together stay below `rate`.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { TLSSocket } from 'node:tls';
import { asSkeinError, SkeinError } from '@skein/protocol/errors.ts';
import type { Clock, Log } from '@skein/protocol/ports.ts';
import { type Bytes, KIB, type Millis, type Sha256Hex } from '@skein/protocol/units.ts';
import type { TlsTrust } from '../identity/http-tls.ts';
import { type Rate, RateCap } from './rate-cap.ts';
import type { OpenBlob } from './site-cache.ts';

const PATH = /^\/v1\/blobs\/([0-9a-f]{64})$/;
/** How the asking device says what its signed manifest says of the blob's size. */
export const SIZE_HEADER = 'skein-size';
/** One that is cut short by a broken connection is lost to who reads. */
const RECORD: Bytes = 8 * KIB;
const HEAD_MS: Millis = 10_000;
const IDLE_MS: Millis = 30_000;
const RETRY_AFTER_S = 2;

export interface SiteOptions {
  host: string;
  port: number;
  clientsMax: number;
  /** Bytes a second to all who ask. */
  rate?: Rate;
}

export interface SiteServer {
  readonly port: number;
  /** After this device's certificate was renewed. */
  useTrust(trust: TlsTrust): void;
  close(): Promise<void>;
}

interface Blobs {
  open(sha256: Sha256Hex, size: Bytes | undefined): Promise<OpenBlob>;
}

/** @throws SkeinError PORT_IN_USE */
export async function openHttpSite(
  blobs: Blobs,
  trust: TlsTrust,
  options: SiteOptions,
  { clock, log }: { clock: Clock; log: Log },
): Promise<SiteServer> {
  const cap = new RateCap(clock);
  let answering = 0;
  const server = createServer(
    {
      ...tlsOf(trust),
      requestCert: true,
      rejectUnauthorized: true,
      minVersion: 'TLSv1.2',
      maxHeaderSize: 8 * KIB,
      headersTimeout: HEAD_MS,
      requestTimeout: HEAD_MS,
      keepAliveTimeout: HEAD_MS,
    },
    (request, response) => {
      if (answering >= options.clientsMax) return refuse(response, 503);
      answering++;
      response.once('close', () => answering--);
      answer(request, response, blobs, (bytes) => pay(cap, bytes, options.rate, response)).catch(
        (thrown: unknown) => fail(response, thrown, log),
      );
    },
  );
  server.maxConnections = 4 * options.clientsMax;
  server.timeout = IDLE_MS;
  server.on('tlsClientError', () => undefined);
  const port = await listen(server, options);
  return {
    port,
    useTrust: (next) => server.setSecureContext(tlsOf(next)),
    close: () =>
      new Promise((done) => {
        server.close(() => done());
        server.closeAllConnections();
      }),
  };
}

const tlsOf = ({ ca, certificate, key }: TlsTrust) => ({ ca, cert: certificate, key });

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  blobs: Blobs,
  paid: (bytes: Bytes) => Promise<void>,
): Promise<void> {
  const [, sha256] = PATH.exec(request.url ?? '') ?? [];
  if (request.method !== 'GET' || sha256 === undefined)
    return refuse(response, request.method === 'GET' ? 404 : 405);
  const blob = await blobs.open(sha256, sizeSaid(request.headers[SIZE_HEADER]));
  try {
    const range = rangeOf(request.headers.range, blob.size);
    if (!range) return void response.writeHead(416, { 'content-range': `bytes */${blob.size}` }).end();
    const [start, end] = range;
    if (response.socket instanceof TLSSocket) response.socket.setMaxSendFragment(RECORD);
    response.writeHead(request.headers.range ? 206 : 200, {
      etag: `"${sha256}"`,
      'content-type': 'application/octet-stream',
      'content-length': end - start,
      ...(request.headers.range ? { 'content-range': `bytes ${start}-${end - 1}/${blob.size}` } : {}),
    });
    for await (const chunk of blob.read(start, end)) {
      await paid(chunk.length);
      if (response.destroyed) return;
      if (!response.write(chunk)) await drained(response);
    }
    response.end();
  } finally {
    await blob.close();
  }
}

const sizeSaid = (text: string | string[] | undefined): Bytes | undefined =>
  typeof text === 'string' && /^[1-9]\d{0,14}$/.test(text) ? Number(text) : undefined;

/** `bytes=a-` and `bytes=a-b`, as our own devices ask; `end` is exclusive. undefined: it can not be met. */
function rangeOf(text: string | undefined, size: Bytes): [Bytes, Bytes] | undefined {
  if (text === undefined) return [0, size];
  const [, first, last] = /^bytes=(\d{1,15})-(\d{0,15})$/.exec(text) ?? [];
  if (first === undefined) return undefined;
  const end = last ? Math.min(size, Number(last) + 1) : size;
  return Number(first) < end ? [Number(first), end] : undefined;
}

/** Resolves also when the other side is gone. */
const drained = (response: ServerResponse): Promise<void> =>
  new Promise((done) => {
    const over = () => {
      response.off('drain', over).off('close', over);
      done();
    };
    response.once('drain', over).once('close', over);
  });

const pay = (cap: RateCap, bytes: Bytes, rate: Rate, response: ServerResponse): Promise<void> =>
  rate === undefined ? Promise.resolve() : cap.take(bytes, rate, () => response.destroyed);

function fail(response: ServerResponse, thrown: unknown, log: Log): void {
  const { code, message } = asSkeinError(thrown);
  const absent = code === 'NOT_FOUND' || code === 'DOWNLOAD_FAILED';
  if (!absent && code !== 'OVERLOADED') log.info('a peer was not served', { code, message });
  // A body that breaks off is the only way left to say so.
  if (response.headersSent) response.destroy();
  else refuse(response, absent ? 404 : 503);
}

function refuse(response: ServerResponse, status: number): void {
  if (status === 503) response.setHeader('retry-after', RETRY_AFTER_S);
  response.writeHead(status, { 'content-length': 0 }).end();
}

function listen(server: Server, { host, port }: SiteOptions): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause) =>
      reject(
        new SkeinError('PORT_IN_USE', `site.port ${port}: ${cause.message}`, {
          cause,
          fix: 'Choose another site.port, or 0 for a free one.',
        }),
      ),
    );
    server.listen(port, host, () => resolve((server.address() as AddressInfo).port));
  });
}
