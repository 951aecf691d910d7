/**
 * The HTTP shell around the rooms' handlers. For every route of `protocol/src/api.ts`, in this order: body bound,
 * parse, schema (unknown keys refused), who asks and whether they may, Idempotency-Key, handler, audit log.
 * Anything thrown becomes problem+json.
 */
import type { Server as NodeServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { SecureContextOptions } from 'node:tls';
import { ROUTES, type Route } from '@skein/protocol/api.ts';
import type { RouteName } from '@skein/protocol/endpoints.ts';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Clock, Entropy, Log } from '@skein/protocol/ports.ts';
import { describable } from '@skein/protocol/schema.ts';
import { KIB, MIB } from '@skein/protocol/units.ts';
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import type { TSchema } from 'typebox';
import { Compile } from 'typebox/compile';
import { Convert } from 'typebox/value';
import { appendAudit } from '../access/audit.ts';
import { checkRole } from '../access/roles.ts';
import type { Store } from '../store/sqlite-store.ts';
import { describeListenError, type Endpoint } from '../tcp-listen.ts';
import { auditDetail } from './audit-detail.ts';
import type { Actor, Handler, Handlers } from './handlers.ts';
import type { Idempotency } from './idempotency.ts';
import type { ServerMetrics } from './metrics.ts';
import { problemOf } from './problem.ts';

export interface HttpDeps {
  store: Store;
  clock: Clock;
  entropy: Entropy;
  log: Log;
  handlers: Handlers;
  idempotency: Idempotency;
  metrics: ServerMetrics;
  maxBlobBytes: number;
}

/** How one port finds out who asks; throws when the proof given is wrong. */
export interface PortIdentity {
  identify(request: FastifyRequest): Promise<{ actor?: Actor; device?: string }>;
}

export interface HttpPort {
  readonly port: number;
  close(): Promise<void>;
}

const BODY_LIMIT = 256 * KIB;
/** Signed documents are larger than other bodies. */
const BODY_LIMITS: Partial<Record<RouteName, number>> = { putRoots: 4 * MIB, putTargets: 12 * MIB };

export type App = FastifyInstance<NodeServer>;

export function createApp(
  tls?: SecureContextOptions & { requestCert: boolean; rejectUnauthorized: boolean },
): App {
  const app = fastify({
    ...(tls ? { https: tls } : {}),
    bodyLimit: BODY_LIMIT,
    forceCloseConnections: true,
    logger: false,
    routerOptions: { maxParamLength: 256 },
  } as object) as unknown as App;
  app.setValidatorCompiler(({ schema, httpPart }) => validator(schema as TSchema, httpPart ?? 'request'));
  app.setSerializerCompiler(() => (data) => JSON.stringify(data));
  app.addContentTypeParser('application/octet-stream', (_request, payload, done) => done(null, payload));
  return app;
}

/** Query values come as text and are converted; bodies must already be what the schema says. */
function validator(schema: TSchema, part: string): (data: unknown) => { value: unknown } | { error: Error } {
  const compiled = Compile(schema);
  return (data) => {
    const value = part === 'querystring' ? Convert(schema, data) : data;
    if (compiled.Check(value)) return { value };
    const first = [...compiled.Errors(describable(value))].at(-1);
    const path = first?.instancePath ?? '';
    const what = part === 'querystring' ? 'query' : part;
    return {
      error: new SkeinError(
        'REQUEST_INVALID',
        `${what} ${path || '/'}: ${first?.message ?? 'is not valid'}`,
        {
          fix: 'See /openapi.json for what this route takes.',
          data: { path },
        },
      ),
    };
  };
}

/** Registers every route of `port` that a room has given a handler for. */
export function registerRoutes(app: App, port: Route['port'], deps: HttpDeps, identity: PortIdentity): void {
  const { log, metrics } = deps;
  app.setErrorHandler((error, request, reply) => {
    const problem = problemOf(error);
    if (problem.status >= 500) {
      log.error('request failed', { url: pathOnly(request.url), error: describe(error) });
    }
    return sendProblem(reply, problem);
  });
  app.setNotFoundHandler((request, reply) =>
    sendProblem(
      reply,
      problemOf(
        new SkeinError('NOT_FOUND', `there is nothing at ${request.method} ${pathOnly(request.url)}`),
      ),
    ),
  );
  app.addHook('onResponse', async (request, reply) => {
    metrics.request(request.routeOptions.url ?? 'none', reply.statusCode, reply.elapsedTime / 1000);
  });
  for (const name of Object.keys(ROUTES) as RouteName[]) {
    const handler = deps.handlers[name] as Handler | undefined;
    if (handler && ROUTES[name].port === port) registerRoute(app, name, handler, deps, identity);
  }
}

function registerRoute(
  app: App,
  name: RouteName,
  handler: Handler,
  deps: HttpDeps,
  identity: PortIdentity,
): void {
  const route: Route = ROUTES[name];
  const upload = route.method === 'PUT' && route.body === undefined;
  const who = new WeakMap<FastifyRequest, { actor?: Actor; device?: string }>();
  app.route({
    method: route.method,
    url: route.path,
    bodyLimit: upload ? deps.maxBlobBytes : (BODY_LIMITS[name] ?? BODY_LIMIT),
    schema: {
      ...(route.query ? { querystring: route.query } : {}),
      ...(route.body ? { body: route.body } : {}),
    },
    // Before the body is read: nobody's bytes are parsed for nothing.
    onRequest: async (request) => {
      const known = route.role === 'anyone' ? {} : await identity.identify(request);
      if (route.role === 'device' && known.device === undefined) throw certificateNeeded();
      checkRole(known.actor, route.role);
      who.set(request, known);
    },
    preValidation: async (request) => {
      if (route.body) request.body ??= {};
    },
    handler: async (request, reply) => {
      const { actor = ANYONE, device } = who.get(request) ?? {};
      const work = () =>
        handler({
          params: request.params as Record<string, string>,
          query: request.query as never,
          body: (route.body ? request.body : undefined) as never,
          actor,
          ...(device === undefined ? {} : { device }),
          headers: request.headers,
          raw: request,
          reply,
        });
      const answer = await performOnce(name, request, actor, deps, work);
      return answer === reply || reply.sent ? reply : reply.header('cache-control', 'no-store').send(answer);
    },
  });
}

const ANYONE: Actor = { name: 'anyone', role: 'viewer' };

async function performOnce(
  name: RouteName,
  request: FastifyRequest,
  actor: Actor,
  { idempotency, store, clock, entropy }: HttpDeps,
  work: () => Promise<unknown>,
): Promise<unknown> {
  const { method, params, body, headers } = request;
  if (method === 'GET') return work();
  const recorded = async () => {
    const answer = await work();
    if (RECORDED_ELSEWHERE.has(name)) return answer;
    const subject = Object.values(params as object).join('/') || madeBy(answer);
    const on = isAboutDevice(name) ? { subject: '', device: subject } : { subject };
    const entry = { actor: actor.name, action: name, ...on, detail: auditDetail(name, body) };
    await appendAudit(store, { clock, entropy }, entry);
    return answer;
  };
  const key = headers['idempotency-key'];
  if (method !== 'POST' || typeof key !== 'string') return recorded();
  return idempotency.once({ key, actor: actor.name, route: name, url: request.url, body }, recorded);
}

/** Their entry is part of the act itself. */
const RECORDED_ELSEWHERE: ReadonlySet<RouteName> = new Set(['eraseDevice']);

/** Its subject is a device's id, which the log keeps as a pseudonym. */
const isAboutDevice = (name: RouteName): boolean =>
  name === 'enrol' || ROUTES[name].path.startsWith('/v1/devices/:id');

/** Id of what a request without one in its path has made. */
function madeBy(answer: unknown): string {
  const { id, device } = (answer ?? {}) as { id?: unknown; device?: unknown };
  return ([id, device].find((value) => typeof value === 'string') as string | undefined) ?? '';
}

export const sendProblem = (reply: FastifyReply, problem: ReturnType<typeof problemOf>): FastifyReply =>
  reply
    .code(problem.status)
    .header('content-type', 'application/problem+json; charset=utf-8')
    .header('cache-control', 'no-store')
    .serializer((data: unknown) => JSON.stringify(data))
    .send(problem);

const certificateNeeded = () =>
  new SkeinError('UNAUTHENTICATED', 'this route needs the client certificate of an enrolled device', {
    fix: 'Enrol with `skein-agent enroll`, or renew the certificate when it has expired.',
  });

/** Query strings may hold what must not be logged. */
const pathOnly = (url: string): string => url.split('?', 1)[0]!;

const describe = (error: unknown): string =>
  error instanceof Error ? (error.stack ?? error.message) : String(error);

/** Opens the port. @throws SkeinError PORT_IN_USE, CONFIG_INVALID */
export async function listenApp(app: App, endpoint: Endpoint): Promise<HttpPort> {
  const { host, port } = endpoint;
  try {
    await app.listen({ host, port, listenTextResolver: () => '' });
  } catch (cause) {
    throw describeListenError(cause as NodeJS.ErrnoException, endpoint);
  }
  return { port: (app.server.address() as AddressInfo).port, close: () => app.close() };
}
