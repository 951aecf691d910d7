import { checkRole, roleAllows } from '@skein/fleet-server/access/roles.ts';
import { sameText } from '@skein/fleet-server/access/secrets.ts';
import {
  createApiKey,
  createLogin,
  identifyKey,
  identifySession,
  LOGIN_LINK_MS,
  pruneAccess,
  redeemLogin,
  SESSION_MS,
} from '@skein/fleet-server/access/sessions.ts';
import { openSqliteStore, type Store } from '@skein/fleet-server/store/sqlite-store.ts';
import { systemEntropy } from '@skein/fleet-server/system-clock.ts';
import { ROLES } from '@skein/protocol/api.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type ManualClock, manualClock } from '../../agent/manual-clock.ts';

let store: Store;
let clock: ManualClock;
const deps = () => ({ store, clock, entropy: systemEntropy });

beforeEach(async () => {
  store = await openSqliteStore(':memory:');
  clock = manualClock();
});
afterEach(() => store.destroy());

describe('roles', () => {
  it('may each do all that the ones before may, and nothing of the ones after', () => {
    for (const [i, role] of ROLES.entries()) {
      for (const [j, least] of ROLES.entries()) expect(roleAllows(role, least)).toBe(i >= j);
    }
  });

  it('tell nobody from somebody who may not', () => {
    expect(() => checkRole(undefined, 'viewer')).toThrow(
      expect.objectContaining({ code: 'UNAUTHENTICATED' }),
    );
    expect(() => checkRole({ name: 'x', role: 'viewer' }, 'admin')).toThrow(
      expect.objectContaining({ code: 'FORBIDDEN' }),
    );
    expect(() => checkRole(undefined, 'anyone')).not.toThrow();
  });
});

describe('API keys', () => {
  it('identify their holder by the whole secret only', async () => {
    const key = await createApiKey(store, { name: 'ci', role: 'publisher' }, clock, systemEntropy);
    expect(await identifyKey(deps(), key)).toEqual({ name: 'key:ci', role: 'publisher' });
    for (const wrong of [key.slice(0, -1), `${key}0`, key.replace('sk_', 'sk-'), '', 'sk__', `${key} `]) {
      expect(await identifyKey(deps(), wrong)).toBeUndefined();
    }
    const another = await createApiKey(store, { name: 'other', role: 'admin' }, clock, systemEntropy);
    const mixed = `${key.split('_').slice(0, 2).join('_')}_${another.split('_')[2]}`;
    expect(await identifyKey(deps(), mixed)).toBeUndefined();
  });
});

describe('sessions', () => {
  it('come from a login secret that works once, for ten minutes', async () => {
    const { secret, expiresAt } = await createLogin(deps(), 'operator');
    expect(expiresAt).toBe(clock.now() + LOGIN_LINK_MS);
    const both = await Promise.allSettled([redeemLogin(deps(), secret), redeemLogin(deps(), secret)]);
    expect(both.map((r) => r.status).sort()).toEqual(['fulfilled', 'rejected']);
    const late = await createLogin(deps(), 'operator');
    await clock.advance(LOGIN_LINK_MS);
    await expect(redeemLogin(deps(), late.secret)).rejects.toMatchObject({ code: 'UNAUTHENTICATED' });
  });

  it('last twelve hours and are then forgotten', async () => {
    const session = await redeemLogin(deps(), (await createLogin(deps(), 'viewer')).secret);
    expect(await identifySession(deps(), session.secret)).toEqual({ name: session.name, role: 'viewer' });
    expect(await identifySession(deps(), 'another')).toBeUndefined();
    await clock.advance(SESSION_MS);
    expect(await identifySession(deps(), session.secret)).toBeUndefined();
    await pruneAccess(deps());
    expect(await store.selectFrom('sessions').selectAll().execute()).toEqual([]);
  });
});

describe('comparing secrets', () => {
  it('says whether two texts are the same', () => {
    expect(sameText('abc', 'abc')).toBe(true);
    for (const other of ['abd', 'ab', 'abcd', '', 'ABC']) expect(sameText('abc', other)).toBe(false);
  });
});
