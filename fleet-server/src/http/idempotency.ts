/**
 * `Idempotency-Key` on POST: the same key with the same request gets the first answer again, for 24 hours; with
 * another request, or while the first still runs, 409. Keys belong to whoever sent them. Routes whose answers carry
 * secrets are left out, because their answers must not be stored.
 */
import { createHash } from 'node:crypto';
import type { RouteName } from '@skein/protocol/endpoints.ts';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Clock } from '@skein/protocol/ports.ts';
import { DAY, type Millis } from '@skein/protocol/units.ts';
import type { Store } from '../store/sqlite-store.ts';

const KEPT: Millis = DAY;
const MAX_KEY_CHARS = 128;
const SECRET_ANSWERS: ReadonlySet<RouteName> = new Set([
  'login',
  'loginLink',
  'createToken',
  'enrol',
  'renew',
]);

export interface Idempotency {
  /** Runs `work` at most once per key; without a key, always. */
  once(request: IdempotentRequest, work: () => Promise<unknown>): Promise<unknown>;
  prune(): Promise<void>;
}

export interface IdempotentRequest {
  key: string | undefined;
  actor: string;
  route: RouteName;
  url: string;
  body: unknown;
}

export function createIdempotency(store: Store, clock: Clock): Idempotency {
  const running = new Set<string>();
  const conflict = (why: string) =>
    new SkeinError('CONFLICT', `Idempotency-Key: ${why}`, { fix: 'Use a new key for a new request.' });

  async function run(
    key: string,
    request: IdempotentRequest,
    work: () => Promise<unknown>,
  ): Promise<unknown> {
    const { route, url, body } = request;
    const hash = createHash('sha256')
      .update(JSON.stringify([url, body ?? null]))
      .digest('hex');
    const known = await store
      .selectFrom('idempotency')
      .selectAll()
      .where('key', '=', key)
      .where('route', '=', route)
      .executeTakeFirst();
    if (known && known.request_hash !== hash) throw conflict('it was used for another request');
    if (known) return JSON.parse(known.body);
    const answer = await work();
    const row = { key, route, request_hash: hash, status: 200, created_at: clock.now() };
    await store
      .insertInto('idempotency')
      .values({ ...row, body: JSON.stringify(answer) })
      .execute();
    return answer;
  }

  return {
    async once(request, work) {
      if (request.key === undefined || SECRET_ANSWERS.has(request.route)) return work();
      if (request.key.length > MAX_KEY_CHARS) throw conflict(`longer than ${MAX_KEY_CHARS} characters`);
      const key = `${request.actor} ${request.key}`;
      if (running.has(key)) throw conflict('its first request still runs');
      running.add(key);
      try {
        return await run(key, request, work);
      } finally {
        running.delete(key);
      }
    },
    async prune() {
      await store
        .deleteFrom('idempotency')
        .where('created_at', '<', clock.now() - KEPT)
        .execute();
    },
  };
}
