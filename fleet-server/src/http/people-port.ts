/**
 * The people's port: API, dashboard, /healthz, /metrics, /openapi.json. Proof is an API key or a session cookie.
 * A cookie counts for a change only when the browser says the page that asks is ours (SameSite=Strict does not
 * tell ports of one host apart). Pages may load nothing from anywhere else.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import fastifyStatic from '@fastify/static';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { FastifyRequest } from 'fastify';
import { type AccessDeps, identifyKey, identifySession } from '../access/sessions.ts';
import { pingStore } from '../store/sqlite-store.ts';
import type { Endpoint } from '../tcp-listen.ts';
import type { Actor } from './handlers.ts';
import { openApiDocument } from './openapi.ts';
import { type App, createApp, type HttpDeps, type HttpPort, listenApp, registerRoutes } from './server.ts';

export const SESSION_COOKIE = 'skein_session';

const HEADERS = {
  'content-security-policy':
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
};

export interface PeoplePortDeps extends HttpDeps, AccessDeps {
  version: string;
  /** Built by Vite; absent until it is built. */
  dashboardDir: string;
}

export async function openPeoplePort(deps: PeoplePortDeps, endpoint: Endpoint): Promise<HttpPort> {
  const app = createApp();
  app.addHook('onSend', async (_request, reply) => void reply.headers(HEADERS));
  registerRoutes(app, 'people', deps, { identify: (request) => identify(deps, request) });
  registerOperations(app, deps);
  await registerDashboard(app, deps.dashboardDir);
  return listenApp(app, endpoint);
}

async function identify(deps: AccessDeps, request: FastifyRequest): Promise<{ actor?: Actor }> {
  const [scheme, key] = (request.headers.authorization ?? '').split(' ');
  if (scheme) {
    const actor = scheme.toLowerCase() === 'bearer' && key ? await identifyKey(deps, key) : undefined;
    if (actor) return { actor };
    throw new SkeinError('UNAUTHENTICATED', 'the API key is wrong, expired or revoked', {
      fix: 'Send `Authorization: Bearer sk_…` with a key that this server made.',
    });
  }
  const secret = cookieOf(request);
  const actor = secret ? await identifySession(deps, secret) : undefined;
  if (actor && !isOwnPage(request)) {
    throw new SkeinError('FORBIDDEN', 'a session may only be used from the dashboard’s own pages');
  }
  return actor ? { actor } : {};
}

function cookieOf({ headers }: FastifyRequest): string | undefined {
  const pairs = (headers.cookie ?? '').split(';').map((pair) => pair.trim().split('='));
  return pairs.find(([name]) => name === SESSION_COOKIE)?.[1];
}

/** Reading is harmless (no CORS headers are sent); a change must come from our own origin. */
function isOwnPage({ method, headers }: FastifyRequest): boolean {
  if (method === 'GET') return true;
  const site = headers['sec-fetch-site'];
  if (site !== undefined) return site === 'same-origin';
  const { origin, host } = headers;
  return origin !== undefined && URL.canParse(origin) && new URL(origin).host === host;
}

function registerOperations(app: App, deps: PeoplePortDeps): void {
  const document = openApiDocument(deps.version);
  app.get('/openapi.json', async () => document);
  app.get('/healthz', async () => {
    await pingStore(deps.store);
    return { ok: true };
  });
  app.get('/metrics', async (_request, reply) =>
    reply
      .header('content-type', deps.metrics.contentType)
      .serializer((text: string) => text)
      .send(await deps.metrics.text()),
  );
}

async function registerDashboard(app: App, folder: string): Promise<void> {
  if (!existsSync(join(folder, 'index.html'))) {
    app.get('/', async (_request, reply) =>
      reply.type('text/plain').send('The dashboard is not built. The API is at /v1, see /openapi.json.\n'),
    );
    return;
  }
  await app.register(fastifyStatic, {
    root: folder,
    dotfiles: 'ignore',
    // Names of assets carry a hash of their content; the page itself must be asked for each time.
    setHeaders: (reply, path) =>
      void reply.header(
        'cache-control',
        path.includes(`${join(folder, 'assets')}/`) ? 'public, max-age=31536000, immutable' : 'no-cache',
      ),
  });
}
