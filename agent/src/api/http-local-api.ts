/**
 * The local API over node:http, for programs on this device: no authentication, so loopback by default. Bodies are
 * bounded to 16 MiB, headers and bodies must arrive within 10 s, 64 connections at once.
 *
 * `/healthz` (503 until golden answers come), `/status`, `/metrics`, `/v2/…` (Open Inference Protocol),
 * `POST /v1/readings/<source>` with a reading, an array or NDJSON, for sources of kind http;
 * `POST /v1/predict/<model>` with `{"values": {feature: number} | number[]}`.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { asSkeinError, SkeinError } from '@skein/protocol/errors.ts';
import { type Bytes, MIB } from '@skein/protocol/units.ts';
import type { PushDoor } from '../sources/push-door.ts';
import { renderMetrics } from './metrics.ts';
import type { OipModels } from './oip-models.ts';
import { answerOip, errorBody, statusOf } from './oip-rest.ts';
import { predictOnce } from './predict-once.ts';
import { type AgentStatus, readiness } from './status.ts';

const MAX_BODY: Bytes = 16 * MIB;

export interface LocalApiDeps {
  models: OipModels;
  status(): AgentStatus;
  /** Where pushed readings go in. */
  readings?: PushDoor;
}

export interface LocalApi {
  readonly url: string;
  close(): Promise<void>;
}

interface Answer {
  status: number;
  body: unknown;
  type?: string;
}

/** @throws SkeinError PORT_IN_USE */
export async function openLocalApi(
  deps: LocalApiDeps,
  { host, port }: { host: string; port: number },
): Promise<LocalApi> {
  const server = createServer((request, response) => void serve(deps, request, response));
  server.requestTimeout = 10_000;
  server.headersTimeout = 10_000;
  server.maxConnections = 64;
  await listen(server, host, port);
  const { port: bound } = server.address() as AddressInfo;
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${bound}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      const used = cause.code === 'EADDRINUSE';
      const what = used
        ? `port ${port} on ${host} is in use`
        : `cannot listen on ${host}:${port}: ${cause.message}`;
      const fix =
        'Stop the other program, or set SKEIN_AGENT_PORT (api.port) to another port; 0 picks a free one.';
      reject(new SkeinError(used ? 'PORT_IN_USE' : 'CONFIG_INVALID', what, { cause, fix }));
    });
    server.listen(port, host, resolve);
  });
}

async function serve(deps: LocalApiDeps, request: IncomingMessage, response: ServerResponse): Promise<void> {
  let answer: Answer;
  try {
    answer = await route(deps, request);
  } catch (thrown) {
    const error = asSkeinError(thrown);
    answer = { status: statusOf(error), body: errorBody(error) };
  }
  const { status, body, type = 'application/json' } = answer;
  if (response.destroyed) return;
  response.writeHead(status, { 'content-type': type, ...(status === 413 ? { connection: 'close' } : {}) });
  response.end(typeof body === 'string' ? body : `${JSON.stringify(body)}\n`);
}

async function route(deps: LocalApiDeps, request: IncomingMessage): Promise<Answer> {
  const method = request.method ?? 'GET';
  const path = new URL(request.url ?? '/', 'http://local').pathname;
  const readings = /^\/v1\/readings\/([^/]+)$/.exec(path);
  if (method === 'POST' && readings && deps.readings)
    return {
      status: 202,
      body: deps.readings.push(decodeURIComponent(readings[1]!), await rawBody(request)),
    };
  const body = method === 'POST' ? parsedBody(await rawBody(request)) : undefined;
  if (method === 'GET' && path === '/healthz') {
    const health = readiness(deps.status());
    return { status: health.ready ? 200 : 503, body: health };
  }
  if (method === 'GET' && path === '/status') return { status: 200, body: deps.status() };
  if (method === 'GET' && path === '/metrics')
    return {
      status: 200,
      body: renderMetrics(deps.status()),
      type: 'text/plain; version=0.0.4; charset=utf-8',
    };
  const predict = /^\/v1\/predict\/([^/]+)$/.exec(path);
  if (method === 'POST' && predict) return { status: 200, body: await predictNamed(deps, predict[1]!, body) };
  const answer = await answerOip(deps.models, { method, path, body });
  return answer ?? { status: 404, body: { error: `NOT_FOUND: nothing at ${path}`, code: 'NOT_FOUND' } };
}

function predictNamed({ models }: LocalApiDeps, name: string, body: unknown) {
  const current = models.current(decodeURIComponent(name));
  if (!current)
    throw new SkeinError('NOT_FOUND', `no model ${name} is active`, {
      fix: '`skein-agent status` lists the models.',
    });
  const values = (body as { values?: unknown } | null)?.values;
  return predictOnce(current, values, (inputs) => models.predict(current.manifest.name, inputs));
}

/** Measured while it arrives. @throws SkeinError PAYLOAD_TOO_LARGE */
async function rawBody(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_BODY)
      throw new SkeinError('PAYLOAD_TOO_LARGE', `the body is longer than ${MAX_BODY} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, size);
}

/** @throws SkeinError REQUEST_INVALID */
function parsedBody(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString('utf8'));
  } catch (cause) {
    throw new SkeinError('REQUEST_INVALID', 'the body is not JSON', { cause });
  }
}
