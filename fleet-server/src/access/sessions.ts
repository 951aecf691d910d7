/**
 * How people and programs prove who they are: API keys `sk_<id>_<secret>` (until revoked), and one-time login
 * links (10 minutes) traded for a session cookie (12 hours). Only hashes of secrets are stored.
 */
import type { Role } from '@skein/protocol/api.ts';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Clock, Entropy } from '@skein/protocol/ports.ts';
import { HOUR, MINUTE, type Millis } from '@skein/protocol/units.ts';
import type { Store } from '../store/sqlite-store.ts';
import { isRole } from './roles.ts';
import { hashSecret, newId, newSecret, sameText } from './secrets.ts';

export const LOGIN_LINK_MS: Millis = 10 * MINUTE;
export const SESSION_MS: Millis = 12 * HOUR;

export interface AccessDeps {
  store: Store;
  clock: Clock;
  entropy: Entropy;
}

export interface Identity {
  name: string;
  role: Role;
}

const KEY = /^sk_([a-z0-9]{4,32})_([0-9a-f]{64})$/;

/** The key is returned once and never again. */
export async function createApiKey(
  store: Store,
  { name, role }: { name: string; role: Role },
  clock: Clock,
  entropy: Entropy,
): Promise<string> {
  const id = newId(entropy, 10);
  const secret = newSecret(entropy);
  const row = { id, name, role, secret_hash: hashSecret(secret), created_at: clock.now() };
  await store
    .insertInto('api_keys')
    .values({ ...row, expires_at: null, revoked_at: null })
    .execute();
  return `sk_${id}_${secret}`;
}

/** Who holds this key; undefined when it is wrong, expired or revoked. */
export async function identifyKey({ store, clock }: AccessDeps, key: string): Promise<Identity | undefined> {
  const [, id, secret] = KEY.exec(key) ?? [];
  if (!id || !secret) return undefined;
  const row = await store.selectFrom('api_keys').selectAll().where('id', '=', id).executeTakeFirst();
  if (!row || !sameText(row.secret_hash, hashSecret(secret)) || row.revoked_at !== null) return undefined;
  if (row.expires_at !== null && row.expires_at <= clock.now()) return undefined;
  return isRole(row.role) ? { name: `key:${row.name}`, role: row.role } : undefined;
}

/** A secret that can be traded once for a session. */
export async function createLogin(
  deps: AccessDeps,
  role: Role,
): Promise<{ secret: string; expiresAt: Millis }> {
  const secret = newSecret(deps.entropy);
  const expiresAt = deps.clock.now() + LOGIN_LINK_MS;
  await deps.store
    .insertInto('logins')
    .values({ secret_hash: hashSecret(secret), role, expires_at: expiresAt })
    .execute();
  return { secret, expiresAt };
}

export interface Session extends Identity {
  secret: string;
  expiresAt: Millis;
}

/** Deleting the row is what makes it one-time. @throws SkeinError UNAUTHENTICATED */
export async function redeemLogin(deps: AccessDeps, secret: string): Promise<Session> {
  const { store, clock, entropy } = deps;
  return store.transaction().execute(async (tx) => {
    const login = await tx
      .deleteFrom('logins')
      .where('secret_hash', '=', hashSecret(secret))
      .returningAll()
      .executeTakeFirst();
    if (!login || login.expires_at <= clock.now() || !isRole(login.role)) {
      throw new SkeinError('UNAUTHENTICATED', 'this login link is wrong, used or older than 10 minutes', {
        fix: 'Make a new one with `skein login`.',
      });
    }
    const session = {
      secret: newSecret(entropy),
      name: `session:${newId(entropy, 6)}`,
      role: login.role,
      expiresAt: clock.now() + SESSION_MS,
    };
    const { name, role, expiresAt } = session;
    await tx
      .insertInto('sessions')
      .values({ secret_hash: hashSecret(session.secret), name, role, expires_at: expiresAt })
      .execute();
    return session;
  });
}

export async function identifySession(
  { store, clock }: AccessDeps,
  secret: string,
): Promise<Identity | undefined> {
  const row = await store
    .selectFrom('sessions')
    .selectAll()
    .where('secret_hash', '=', hashSecret(secret))
    .where('expires_at', '>', clock.now())
    .executeTakeFirst();
  return row && isRole(row.role) ? { name: row.name, role: row.role } : undefined;
}

/** Expired logins and sessions are removed; called at start and every hour. */
export async function pruneAccess({ store, clock }: AccessDeps): Promise<void> {
  await store.deleteFrom('logins').where('expires_at', '<=', clock.now()).execute();
  await store.deleteFrom('sessions').where('expires_at', '<=', clock.now()).execute();
}
