/**
 * The local API over HTTP, for programs on this device; its limits are in `http-server.ts`, `http-message.ts` and
 * `body-budget.ts`. On loopback and on a Unix socket; a bearer token where one is configured.
 *
 * `/healthz` (503 until golden answers come; asks for no token), `/status`, `/metrics`, `/v2/…` (Open Inference Protocol),
 * `POST /v1/readings/<source>` with a reading, an array or NDJSON, for sources of kind http;
 * `POST /v1/predict/<model>` with `{"values": {feature: number} | number[]}` or `{"image": base64}`.
 */
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Bytes } from '@skein/protocol/units.ts';
import { parseBounded } from '../bounded-json.ts';
import type { Pictures } from '../pipeline/pictures.ts';
import type { PushDoor } from '../sources/push-door.ts';
import { type Authorize, bearerCheck, refuseOpenHost } from './bearer.ts';
import { BodyBudget } from './body-budget.ts';
import type { HttpAnswer } from './http-answer.ts';
import { packed, unpacked } from './http-encoding.ts';
import type { HttpRequest } from './http-head.ts';
import { HTTP_LIMITS, type HttpServer, openHttpServer } from './http-server.ts';
import { renderMetrics } from './metrics.ts';
import type { OipModels } from './oip-models.ts';
import { decodedPart } from './oip-path.ts';
import { answerOip, errorAnswer, jsonAnswer } from './oip-rest.ts';
import { type OnceRequest, predictOnce } from './predict-once.ts';
import { type AgentStatus, readiness } from './status.ts';

export interface LocalApiDeps {
  models: OipModels;
  status(): AgentStatus;
  /** For models of pictures; absent: they take tensors alone. */
  pictures?: Pick<Pictures, 'prepare'>;
  /** Where pushed readings go in. */
  readings?: PushDoor;
}

export interface LocalApiOptions {
  host: string;
  port: number;
  /** Path of a Unix socket to listen on too. */
  socket?: string;
  /** Asked for in `Authorization: Bearer`; absent: nobody is asked. */
  token?: string;
  /** Absent: yes. */
  busyPoll?: boolean;
}

export interface LocalApi {
  readonly url: string;
  close(): Promise<void>;
}

/** @throws SkeinError PORT_IN_USE, CONFIG_INVALID */
export async function openLocalApi(deps: LocalApiDeps, options: LocalApiOptions): Promise<LocalApi> {
  const { host, port, socket, token, busyPoll = true } = options;
  refuseOpenHost(host, token);
  const authorize = bearerCheck(token);
  const bodies = new BodyBudget();
  const limits = busyPoll ? HTTP_LIMITS : { ...HTTP_LIMITS, busyPollMs: 0 };
  const handler = (request: HttpRequest) => answerTo(deps, authorize, request, bodies);
  const servers: HttpServer[] = [await openHttpServer(handler, { host, port }, bodies, limits)];
  const close = () => Promise.all(servers.map((server) => server.close())).then(() => undefined);
  try {
    if (socket !== undefined) servers.push(await openHttpServer(handler, { socket }, bodies, limits));
  } catch (error) {
    await close();
    throw error;
  }
  return { url: `http://${host.includes(':') ? `[${host}]` : host}:${servers[0]!.port}`, close };
}

interface RoutedRequest {
  method: string;
  path: string;
  headers: ReadonlyMap<string, string>;
  body: Uint8Array;
}

/** Neither throws nor rejects. */
function answerTo(
  deps: LocalApiDeps,
  authorize: Authorize,
  { method, target, headers, body }: HttpRequest,
  bodies: BodyBudget,
): HttpAnswer | Promise<HttpAnswer> {
  try {
    const query = target.indexOf('?');
    const path = query < 0 ? target : target.slice(0, query);
    if (path !== '/healthz') authorize(headers.get('authorization'));
    const routed = { method, path, headers, body };
    const coded = headers.has('content-encoding') || headers.has('accept-encoding');
    return coded ? answerCoded(deps, routed, bodies) : answerPlain(deps, routed);
  } catch (thrown) {
    return errorAnswer(thrown);
  }
}

const answerPlain = (deps: LocalApiDeps, request: RoutedRequest): HttpAnswer | Promise<HttpAnswer> =>
  answerOip(deps.models, request) ?? route(deps, request).catch(errorAnswer);

/** What is unpacked counts as long as it is in use. */
async function answerCoded(
  deps: LocalApiDeps,
  request: RoutedRequest,
  bodies: BodyBudget,
): Promise<HttpAnswer> {
  let unpackedSize = 0;
  const taken = (bytes: Bytes): void => {
    bodies.claim(bytes);
    unpackedSize += bytes;
  };
  try {
    const coding = request.headers.get('content-encoding');
    const body = coding === undefined ? request.body : await unpacked(request.body, coding, taken);
    const answer = await answerPlain(deps, { ...request, body });
    const accepted = request.headers.get('accept-encoding');
    return accepted === undefined ? answer : await packed(answer, accepted);
  } catch (thrown) {
    return errorAnswer(thrown);
  } finally {
    bodies.count(-unpackedSize);
  }
}

const PROMETHEUS = 'text/plain; version=0.0.4; charset=utf-8';
const NAMED = /^\/v1\/(readings|predict)\/([^/]+)$/;

async function route(deps: LocalApiDeps, request: RoutedRequest): Promise<HttpAnswer> {
  const { method, path } = request;
  if (method === 'GET' || method === 'HEAD') {
    if (path === '/healthz') {
      const health = readiness(deps.status());
      return jsonAnswer(health, health.ready ? 200 : 503);
    }
    if (path === '/status') return jsonAnswer(deps.status());
    if (path === '/metrics') {
      const body = renderMetrics(deps.status(), (name) => deps.models.statistics(name));
      return { status: 200, type: PROMETHEUS, body };
    }
  }
  const [, what, name] = NAMED.exec(path) ?? [];
  if (method === 'POST' && what === 'readings' && deps.readings)
    return jsonAnswer(deps.readings.push(decodedPart(name!), request.body), 202);
  if (method === 'POST' && what === 'predict')
    return jsonAnswer(await predictNamed(deps, decodedPart(name!), parsedBody(request.body)));
  return errorAnswer(new SkeinError('NOT_FOUND', `nothing at ${method} ${path.slice(0, 200)}`));
}

function predictNamed({ models, pictures }: LocalApiDeps, name: string, body: unknown) {
  const current = models.current(name);
  if (!current)
    throw new SkeinError('NOT_FOUND', `no model ${name.slice(0, 64)} is active`, {
      fix: '`skein-agent status` lists the models.',
    });
  const request = (body ?? {}) as OnceRequest;
  return predictOnce(current, request, (inputs) => models.predict(current.manifest.name, inputs), pictures);
}

/** @throws SkeinError REQUEST_INVALID, PAYLOAD_TOO_LARGE */
function parsedBody(body: Uint8Array): unknown {
  try {
    return parseBounded(new TextDecoder('utf-8', { fatal: true }).decode(body));
  } catch (cause) {
    if (cause instanceof SkeinError) throw cause;
    throw new SkeinError('REQUEST_INVALID', 'the body is not JSON', { cause });
  }
}
