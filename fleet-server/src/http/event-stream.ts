/**
 * Server-sent events. A ring of the last {@link RING_SIZE} events lets a client that comes back with
 * `Last-Event-ID` miss nothing that is still there; when its place is gone (or the server was restarted) it first
 * gets `event: reset`, as everybody does after an erasure, and should read the lists again. Ids are `<start of the server>-<number>`.
 * A client that does not read is cut off at {@link MAX_BACKLOG_BYTES}; it can resume.
 */
import { randomBytes } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import type { StreamEvents } from '@skein/protocol/api.ts';
import { KIB, MIB, SECOND } from '@skein/protocol/units.ts';
import type { HandlerRequest } from './handlers.ts';

export const RING_SIZE = 2_000;
const MAX_BACKLOG_BYTES = MIB;
const MAX_CLIENTS = 256;
const HEARTBEAT_MS = 15 * SECOND;
const MAX_EVENT_BYTES = 256 * KIB;

interface Sent {
  number: number;
  frame: string;
}

export interface EventHub {
  publish<T extends keyof StreamEvents>(type: T, data: StreamEvents[T]): void;
  /** Answers one request with the stream, until either side ends. */
  serve(request: Pick<HandlerRequest, 'headers' | 'reply'>): Promise<unknown>;
  readonly clients: number;
  /** Something may no longer be told, nor kept: nothing can be resumed, and clients read the lists again. */
  forget(): void;
  close(): void;
}

export function createEventHub(): EventHub {
  const run = randomBytes(4).toString('hex');
  const ring: Sent[] = [];
  const clients = new Set<ServerResponse>();
  let last = 0;

  const send = (client: ServerResponse, text: string) => {
    if (client.writableLength > MAX_BACKLOG_BYTES) client.destroy();
    else client.write(text);
  };
  const heartbeat = setInterval(() => {
    for (const client of clients) send(client, ': still here\n\n');
  }, HEARTBEAT_MS);
  heartbeat.unref();

  const reset = (): string => `id: ${run}-${last}\nevent: reset\ndata: {}\n\n`;
  /** What came after the id; undefined when that place is no longer in the ring. */
  const since = (id: string): Sent[] | undefined => {
    const [, ofRun, text] = /^([0-9a-f]{8})-(\d{1,15})$/.exec(id) ?? [];
    const number = Number(text);
    const oldest = ring[0]?.number ?? last + 1;
    if (ofRun !== run || number > last || number < oldest - 1) return undefined;
    return ring.filter((event) => event.number > number);
  };

  return {
    get clients() {
      return clients.size;
    },
    publish(type, data) {
      const json = JSON.stringify(data);
      if (json.length > MAX_EVENT_BYTES) return;
      last += 1;
      const frame = `id: ${run}-${last}\nevent: ${type}\ndata: ${json}\n\n`;
      ring.push({ number: last, frame });
      if (ring.length > RING_SIZE) ring.shift();
      for (const client of clients) send(client, frame);
    },
    forget() {
      ring.length = 0;
      // Who is away now is behind by it.
      last += 1;
      for (const client of clients) send(client, reset());
    },
    async serve({ headers, reply }) {
      const client = reply.raw;
      reply.hijack();
      if (clients.size >= MAX_CLIENTS) {
        client.writeHead(503).end();
        return reply;
      }
      client.writeHead(200, {
        'content-type': 'text/event-stream; charset=utf-8',
        'cache-control': 'no-store',
        'x-accel-buffering': 'no',
      });
      const asked = headers['last-event-id'];
      const missed = typeof asked === 'string' ? since(asked) : [];
      client.write(`: skein\n\n${missed ? '' : reset()}`);
      for (const event of missed ?? []) send(client, event.frame);
      clients.add(client);
      client.once('close', () => clients.delete(client));
      client.once('error', () => clients.delete(client));
      return reply;
    },
    close() {
      clearInterval(heartbeat);
      for (const client of clients) client.end();
    },
  };
}
