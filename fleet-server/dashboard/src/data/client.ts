/**
 * The typed client of `/v1`: types come from the protocol at compile time, so nothing of it is in the bundle.
 * Every failure is a {@link ProblemError}; a 401 also tells the session, so any page may simply call.
 */
import type { AnswerOf, BodyOf, QueryOf, RouteName } from '@skein/protocol/api.ts';
import { ProblemError, problemOf } from './problem.ts';
import { signedOut } from './session.ts';

/** `METHOD path` of the routes the page uses; a test holds them against the protocol's table. */
export const PATHS = {
  server: 'GET /v1/server',
  login: 'POST /v1/login',
  listDevices: 'GET /v1/devices',
  showDevice: 'GET /v1/devices/:id',
  changeDevice: 'PATCH /v1/devices/:id',
  watchDevice: 'POST /v1/devices/:id/watch',
  revokeDevice: 'POST /v1/devices/:id/revoke',
  devicePredictions: 'GET /v1/devices/:id/predictions',
  deviceHealth: 'GET /v1/devices/:id/health',
  drift: 'GET /v1/drift',
  listModels: 'GET /v1/models',
  showModel: 'GET /v1/models/:name/:version',
  trust: 'GET /v1/trust',
  createRollout: 'POST /v1/rollouts',
  listRollouts: 'GET /v1/rollouts',
  showRollout: 'GET /v1/rollouts/:id',
  steerRollout: 'POST /v1/rollouts/:id/:action',
  events: 'GET /v1/events',
} as const satisfies Partial<Record<RouteName, string>>;

export type Called = keyof typeof PATHS;

export interface CallOptions<N extends Called> {
  params?: Record<string, string>;
  query?: QueryOf<N>;
  body?: BodyOf<N>;
  signal?: AbortSignal;
}

export function requestOf<N extends Called>(
  name: N,
  options: CallOptions<N>,
): { method: string; url: string } {
  const [method = 'GET', template = '/'] = PATHS[name].split(' ');
  const path = template.replace(/:(\w+)/g, (_, key: string) =>
    encodeURIComponent(options.params?.[key] ?? ''),
  );
  const query = new URLSearchParams(
    Object.entries((options.query ?? {}) as Record<string, unknown>)
      .filter(([, value]) => value !== undefined && value !== '')
      .map(([key, value]): [string, string] => [key, String(value)]),
  ).toString();
  return { method, url: query ? `${path}?${query}` : path };
}

/** @throws ProblemError */
export async function call<N extends Called>(name: N, options: CallOptions<N> = {}): Promise<AnswerOf<N>> {
  const { method, url } = requestOf(name, options);
  const response = await fetch(url, {
    method,
    headers: {
      accept: 'application/json',
      ...(method === 'GET' ? {} : { 'content-type': 'application/json' }),
    },
    ...(method === 'GET' ? {} : { body: JSON.stringify(options.body ?? {}) }),
    ...(options.signal ? { signal: options.signal } : {}),
  }).catch((cause: unknown) => {
    throw ProblemError.unreachable(cause);
  });
  if (response.ok) return (await response.json()) as AnswerOf<N>;
  const problem = await problemOf(response);
  if (response.status === 401 && name !== 'login') signedOut.value = true;
  throw problem;
}

interface Page<T> {
  items: T[];
  next: string | null;
}

/** Follows `next` to the end, at most `pages` pages of 500. */
export async function all<T>(
  fetchPage: (query: { limit: number; cursor?: string }) => Promise<Page<T>>,
  pages = 20,
): Promise<T[]> {
  const items: T[] = [];
  let cursor: string | null = null;
  for (let page = 0; page < pages; page++) {
    const answer: Page<T> = await fetchPage({ limit: 500, ...(cursor ? { cursor } : {}) });
    items.push(...answer.items);
    cursor = answer.next;
    if (!cursor) break;
  }
  return items;
}
