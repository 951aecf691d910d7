/**
 * The API client and the context that every `skein` command gets. Server and key come from `SKEIN_URL` and
 * `SKEIN_API_KEY`, else from `operator.json` (`{url, key}`, mode 0600) in `SKEIN_STATE_DIR` or `./.skein`.
 * Every POST carries an Idempotency-Key, so a retry after a lost answer does nothing twice.
 */
import { randomUUID } from 'node:crypto';
import { createReadStream, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { Readable } from 'node:stream';
import type { AnswerOf, BodyOf, QueryOf } from '@skein/protocol/api.ts';
import { endpointOf, filledPath, type RouteName } from '@skein/protocol/endpoints.ts';
import { ERROR_CODES, type ErrorCode, SkeinError } from '@skein/protocol/errors.ts';
import { parseServerSentEvents, type StreamEvent } from './server-sent-events.ts';
import { type Column, formatFields, formatTable } from './table.ts';

export interface CallArguments<N extends RouteName> {
  params?: Record<string, string>;
  query?: QueryOf<N>;
  body?: BodyOf<N>;
}

export interface ApiClient {
  readonly url: string;
  /** @throws SkeinError with the server's own code and fix; UNREACHABLE when there is no server. */
  call<N extends RouteName>(name: N, given?: CallArguments<N>): Promise<AnswerOf<N>>;
  /** All items of a paged route, following its cursors. */
  all<N extends RouteName>(name: N, given?: CallArguments<N>): Promise<ItemOf<N>[]>;
  /** Streams the file at `path` to the server, which hashes it. */
  putBlob(sha256: string, path: string): Promise<{ sizeBytes: number }>;
  /** The server's event stream, until `signal` aborts; reconnects and resumes after the last id. */
  events(signal?: AbortSignal): AsyncIterable<StreamEvent>;
}

export type ItemOf<N extends RouteName> = AnswerOf<N> extends { items: (infer I)[] } ? I : never;

export interface CliContext {
  api(): Promise<ApiClient>;
  /** JSON with `-o json`; else a table of rows, or `name  value` lines for a single object. */
  print<T extends object>(data: T | readonly T[], table?: { columns: readonly Column<T>[] }): void;
  readonly output: 'table' | 'json';
  readonly stateDir: string;
}

/** `output` is asked at each print: commander knows it only once the command line is parsed. */
export function createContext(
  output: () => 'table' | 'json',
  write: (text: string) => void = (text) => process.stdout.write(text),
): CliContext {
  const stateDir = resolve(process.env.SKEIN_STATE_DIR ?? '.skein');
  return {
    stateDir,
    get output() {
      return output();
    },
    api: async () => createApiClient(findServer(stateDir)),
    print(data, table) {
      if (output() === 'json') write(`${JSON.stringify(data, null, 2)}\n`);
      else if (Array.isArray(data)) write(formatTable(data, table?.columns ?? []));
      else write(formatFields(data as object));
    },
  };
}

interface ServerAddress {
  url: string;
  key: string;
}

function findServer(stateDir: string): ServerAddress {
  const { SKEIN_URL, SKEIN_API_KEY } = process.env;
  if (SKEIN_URL && SKEIN_API_KEY) return { url: SKEIN_URL, key: SKEIN_API_KEY };
  const path = join(stateDir, 'operator.json');
  try {
    const file = JSON.parse(readFileSync(path, 'utf8')) as ServerAddress;
    return { url: SKEIN_URL ?? file.url, key: SKEIN_API_KEY ?? file.key };
  } catch (cause) {
    throw new SkeinError('CONFIG_UNREADABLE', `no server known: ${path} can not be read`, {
      cause,
      fix: 'Start one with `npm start` in this folder, or set SKEIN_URL and SKEIN_API_KEY.',
    });
  }
}

export function createApiClient({ url, key }: ServerAddress): ApiClient {
  const base = url.replace(/\/$/, '');
  const headers = { authorization: `Bearer ${key}`, accept: 'application/json' };

  async function send(path: string, init: RequestInit & { duplex?: 'half' }): Promise<Response> {
    let response: Response;
    try {
      response = await fetch(base + path, { ...init, headers: { ...headers, ...init.headers } });
    } catch (cause) {
      throw new SkeinError('UNREACHABLE', `no answer from ${base}`, {
        cause,
        fix: 'Is the server running? Start it with `npm start`, or set SKEIN_URL.',
      });
    }
    if (!response.ok) throw await problemOf(response);
    return response;
  }

  async function call<N extends RouteName>(name: N, given: CallArguments<N> = {}): Promise<AnswerOf<N>> {
    const endpoint = endpointOf(name);
    const { method } = endpoint;
    const init: RequestInit = { method };
    if (method === 'POST') init.headers = { 'idempotency-key': randomUUID() };
    if (method !== 'GET') {
      init.body = JSON.stringify(given.body ?? {});
      init.headers = { ...init.headers, 'content-type': 'application/json' };
    }
    const path = filledPath(endpoint, given.params);
    const response = await send(path + searchOf(given.query as object | undefined), init);
    return (await response.json()) as AnswerOf<N>;
  }

  return {
    url: base,
    call,
    async all<N extends RouteName>(name: N, given: CallArguments<N> = {}): Promise<ItemOf<N>[]> {
      const items: ItemOf<N>[] = [];
      let cursor: string | null = null;
      do {
        const query = cursor === null ? given.query : { ...(given.query as object | undefined), cursor };
        const answer = (await call(name, { ...given, query: query as QueryOf<N> })) as {
          items: ItemOf<N>[];
          next: string | null;
        };
        items.push(...answer.items);
        cursor = answer.next;
      } while (cursor !== null);
      return items;
    },
    async putBlob(sha256, path) {
      const body = Readable.toWeb(createReadStream(path)) as unknown as ReadableStream;
      const response = await send(`/v1/blobs/${sha256}`, {
        method: 'PUT',
        body: body as never,
        duplex: 'half',
        headers: { 'content-type': 'application/octet-stream' },
      });
      return (await response.json()) as { sizeBytes: number };
    },
    events: (signal) => followEvents(send, signal),
  };
}

function searchOf(query: object = {}): string {
  const search = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) if (value !== undefined) search.set(key, String(value));
  return search.size > 0 ? `?${search}` : '';
}

async function problemOf(response: Response): Promise<SkeinError> {
  const body = (await response.json().catch(() => ({}))) as Record<string, unknown>;
  const code = (Object.hasOwn(ERROR_CODES, String(body.code)) ? body.code : 'INTERNAL') as ErrorCode;
  const message = String(body.detail ?? `${response.status} ${response.statusText}`);
  return new SkeinError(code, message, {
    ...(typeof body.fix === 'string' ? { fix: body.fix } : {}),
    data: { status: response.status },
  });
}

const RECONNECT_MS = 1_000;

async function* followEvents(
  send: (path: string, init: RequestInit) => Promise<Response>,
  signal?: AbortSignal,
): AsyncIterable<StreamEvent> {
  let lastId: string | undefined;
  while (!signal?.aborted) {
    const headers: Record<string, string> = { accept: 'text/event-stream' };
    if (lastId !== undefined) headers['last-event-id'] = lastId;
    const response = await send(endpointOf('events').path, { headers, ...(signal ? { signal } : {}) });
    try {
      for await (const event of parseServerSentEvents(response.body!)) {
        lastId = event.id ?? lastId;
        yield event;
      }
    } catch (thrown) {
      if (signal?.aborted) return;
      if (!(thrown instanceof TypeError)) throw thrown;
    }
    await new Promise((wake) => setTimeout(wake, RECONNECT_MS));
  }
}
