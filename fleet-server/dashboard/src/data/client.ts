/**
 * The typed client of `/v1`: of the protocol only its list of endpoints is in the bundle, types are gone by then.
 * Every failure is a {@link ProblemError}; a 401 also tells the session, so any page may simply call.
 */
import type { AnswerOf, BodyOf, QueryOf } from '@skein/protocol/api.ts';
import { endpointOf, filledPath, type RouteName } from '@skein/protocol/endpoints.ts';
import { ProblemError, problemOf } from './problem.ts';
import { signedOut } from './session.ts';

export interface CallOptions<N extends RouteName> {
  params?: Record<string, string>;
  query?: QueryOf<N>;
  body?: BodyOf<N>;
  signal?: AbortSignal;
}

export function requestOf<N extends RouteName>(
  name: N,
  options: CallOptions<N>,
): { method: string; url: string } {
  const endpoint = endpointOf(name);
  const path = filledPath(endpoint, options.params);
  const query = new URLSearchParams(
    Object.entries((options.query ?? {}) as Record<string, unknown>)
      .filter(([, value]) => value !== undefined && value !== '')
      .map(([key, value]): [string, string] => [key, String(value)]),
  ).toString();
  return { method: endpoint.method, url: query ? `${path}?${query}` : path };
}

/** @throws ProblemError */
export async function call<N extends RouteName>(name: N, options: CallOptions<N> = {}): Promise<AnswerOf<N>> {
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
