/**
 * A process of its own: blobs over mTLS as the fleet server gives them, behind a link that counts, slows down, breaks
 * connections (every other one with a reset, in the middle of what it carries) and goes away for a while.
 */
import { createReadStream, statSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import { connect, createServer as createLink, type Socket } from 'node:net';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { pipeline } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import type { TLSSocket } from 'node:tls';
import { BLOB_RECORD, etagOf, rangeOf } from '@skein/fleet-server/http/byte-range.ts';
import { KIB } from '@skein/protocol/units.ts';
import type { Carried, FromOrigin, OriginStart, ToOrigin } from './wire.ts';

const say = (message: FromOrigin): void => void process.send!(message);
const NOTHING: Carried = { bytes: 0, connections: 0, firstMs: 0, lastMs: 0 };
let carried = { ...NOTHING };
let cuts = { count: 0, everyBytes: 0 };
let down = false;
const links = new Set<Socket>();

function listen({ fleet, directory }: OriginStart): Promise<number> {
  const tls = { ...fleet.server, ca: fleet.ca, requestCert: true, rejectUnauthorized: true };
  const server = createServer(tls, ({ url, headers }, response) => {
    const sha256 = /^\/v1\/blobs\/([0-9a-f]{64})$/.exec(url ?? '')?.[1] ?? '';
    const path = join(directory, sha256);
    const size = statSync(path, { throwIfNoEntry: false })?.size;
    if (size === undefined || sha256 === '') return void response.writeHead(404).end();
    const asked = { range: headers.range, ifRange: headers['if-range']?.toString() };
    const answer = rangeOf(asked, etagOf(sha256), size);
    if (answer.status === 416) return void response.writeHead(416).end();
    send(response, path, { ...answer, size, etag: etagOf(sha256) });
  });
  return new Promise((done) =>
    server.listen(0, '127.0.0.1', () => done((server.address() as { port: number }).port)),
  );
}

function send(
  response: ServerResponse,
  path: string,
  {
    status,
    start,
    end,
    size,
    etag,
  }: { status: number; start: number; end: number; size: number; etag: string },
): void {
  (response.socket as TLSSocket).setMaxSendFragment(BLOB_RECORD);
  response.writeHead(status, {
    etag,
    'content-length': end - start,
    ...(status === 206 ? { 'content-range': `bytes ${start}-${end - 1}/${size}` } : {}),
  });
  pipeline(createReadStream(path, { start, end: end - 1 }), response, () => {});
}

/** Carries a connection, chunk by chunk, at the link's rate. */
async function carry(client: Socket, port: number, rate: number | undefined): Promise<void> {
  const server = connect(port, '127.0.0.1');
  const ends = () => [client, server].map((socket) => socket.destroy());
  client.setMaxListeners(0);
  // What waits for an acknowledgement never left, and would be lost to a reset without having been carried.
  client.setNoDelay(true);
  for (const socket of [client, server]) socket.on('error', ends).on('close', ends);
  client.pipe(server);
  links.add(client);
  carried.connections++;
  const breakAfter =
    cuts.count > 0 ? Math.round(cuts.everyBytes * (0.5 + Math.random())) : Number.POSITIVE_INFINITY;
  let sent = 0;
  for await (const piece of pieces(server)) {
    if (client.destroyed) break;
    const part = piece.subarray(0, Math.max(0, breakAfter - sent));
    carried.firstMs ||= performance.now();
    carried.bytes += part.length;
    carried.lastMs = performance.now();
    sent += part.length;
    if (!client.write(part)) await Promise.race([once(client, 'drain'), once(client, 'close')]);
    if (rate !== undefined) await sleep((part.length / rate) * 1_000);
    if (sent < breakAfter) continue;
    if (cuts.count-- % 2 === 0) client.resetAndDestroy();
    else client.destroy();
  }
  links.delete(client);
  ends();
}

/** What a link holds at a time: a reset loses no more than that. */
const PIECE = 16 * KIB;
async function* pieces(from: AsyncIterable<Buffer>): AsyncIterable<Buffer> {
  for await (const chunk of from)
    for (let at = 0; at < chunk.length; at += PIECE) yield chunk.subarray(at, at + PIECE);
}

const once = (socket: Socket, event: string): Promise<void> =>
  new Promise((done) => socket.once(event, () => done()));

process.on('message', async (message: ToOrigin) => {
  switch (message.type) {
    case 'start': {
      const port = await listen(message.start);
      const link = createLink((client) => {
        if (down) return void client.resetAndDestroy();
        carry(client, port, message.start.linkRate).catch(() => client.destroy());
      });
      link.listen(0, '127.0.0.1', () =>
        say({ type: 'ready', port: (link.address() as { port: number }).port }),
      );
      return;
    }
    case 'cuts':
      cuts = { count: message.count, everyBytes: message.everyBytes };
      return say({ type: 'done' });
    case 'outage':
      down = true;
      for (const client of links) client.resetAndDestroy();
      setTimeout(() => {
        down = false;
      }, message.ms);
      return say({ type: 'done' });
    case 'reset':
      carried = { ...NOTHING };
      return say({ type: 'done' });
    case 'carried':
      return say({ type: 'carried', carried });
  }
});
process.on('disconnect', () => process.exit());
