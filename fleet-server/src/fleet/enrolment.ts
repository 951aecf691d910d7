/**
 * How a device becomes one of the fleet. A claim token is used up in the same transaction that makes the device,
 * so no use is counted twice or lost. The secret is kept only as a hash; the token's third part (the hash of CA
 * and roots) never comes here. Nobody enrols before both signed roots are there: a device pins them for life.
 */

import { hexToBytes, utf8ToBytes } from '@noble/hashes/utils.js';
import type { EnrolAnswer, EnrolRequest, EnrolTrust, RenewRequest, TokenView } from '@skein/protocol/api.ts';
import { toBase64 } from '@skein/protocol/base64.ts';
import { formatClaimToken, renewalBytes, trustHash } from '@skein/protocol/enrolment.ts';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Clock, Entropy, Verify } from '@skein/protocol/ports.ts';
import { DAY, type Millis } from '@skein/protocol/units.ts';
import type { Transaction } from 'kysely';
import { hashSecret, newId, newSecret, sameText } from '../access/secrets.ts';
import { isErased } from '../erasure/identity.ts';
import type { Tables } from '../store/schema.ts';
import type { Store } from '../store/sqlite-store.ts';
import type { CertificateAuthority } from './authority.ts';

export const DEFAULT_TOKEN_TTL: Millis = DAY;
const MAX_TOKEN_TTL: Millis = 90 * DAY;
/** A renewal's `at` may differ this much from our clock: old signatures can not be replayed for ever. */
const RENEWAL_WINDOW: Millis = 2 * DAY;

export interface EnrolmentDeps {
  store: Store;
  clock: Clock;
  entropy: Entropy;
  verify: Verify;
  authority: CertificateAuthority;
  fleet: string;
  /** What devices are told; asked when needed, because free ports are known only after listening. */
  addresses(): { deviceUrl: string; mqttUrl: string };
}

export interface TokenOptions {
  uses?: number;
  ttlMs?: Millis;
  groups?: string[];
}

export interface Enrolment {
  trustReady(): Promise<boolean>;
  trust(): Promise<EnrolTrust>;
  createToken(options: TokenOptions, createdBy: string): Promise<TokenView & { token: string }>;
  listTokens(): Promise<TokenView[]>;
  enrol(request: EnrolRequest): Promise<EnrolAnswer>;
  renew(request: RenewRequest): Promise<{ certificate: string }>;
}

export function createEnrolment(deps: EnrolmentDeps): Enrolment {
  return {
    trustReady: async () => (await latestRoots(deps.store)) !== undefined,
    trust: () => trustOf(deps),
    createToken: (options, createdBy) => createToken(deps, options, createdBy),
    listTokens: () => listTokens(deps),
    enrol: (request) => enrol(deps, request),
    renew: (request) => renew(deps, request),
  };
}

async function latestRoots(store: Store): Promise<{ image: Uint8Array; director: Uint8Array } | undefined> {
  const latest = async (repo: string) =>
    (
      await store
        .selectFrom('trust_documents')
        .select('bytes')
        .where('repo', '=', repo)
        .where('role', '=', 'root')
        .orderBy('version', 'desc')
        .limit(1)
        .executeTakeFirst()
    )?.bytes;
  const [image, director] = [await latest('image'), await latest('director')];
  return image && director ? { image, director } : undefined;
}

async function rootsOrRefuse(store: Store) {
  const roots = await latestRoots(store);
  if (roots) return roots;
  throw new SkeinError('CONFLICT', 'the signed roots are not there yet, so no device can enrol', {
    fix: 'Make keys and upload the roots with `skein keys init`, then make a new token.',
  });
}

async function trustOf({ store, authority }: EnrolmentDeps): Promise<EnrolTrust> {
  const roots = await rootsOrRefuse(store);
  return {
    ca: toBase64(utf8ToBytes(authority.ca)),
    image: toBase64(roots.image),
    director: toBase64(roots.director),
  };
}

async function createToken(deps: EnrolmentDeps, options: TokenOptions, createdBy: string) {
  const { store, clock, entropy, authority } = deps;
  const roots = await rootsOrRefuse(store);
  const id = newId(entropy, 8);
  const secret = newSecret(entropy);
  const uses = options.uses ?? 1;
  const view: TokenView = {
    id,
    usesLeft: uses,
    usesTotal: uses,
    expiresAt: clock.now() + Math.min(options.ttlMs ?? DEFAULT_TOKEN_TTL, MAX_TOKEN_TTL),
    groups: options.groups ?? [],
  };
  await store
    .insertInto('tokens')
    .values({
      id,
      secret_hash: hashSecret(secret),
      uses_left: uses,
      uses_total: uses,
      expires_at: view.expiresAt,
      groups_json: JSON.stringify(view.groups),
      created_at: clock.now(),
      created_by: createdBy,
    })
    .execute();
  const trust = trustHash(utf8ToBytes(authority.ca), roots.image, roots.director);
  return { token: formatClaimToken({ id, secret, trust }), ...view };
}

async function listTokens({ store }: EnrolmentDeps): Promise<TokenView[]> {
  const rows = await store
    .selectFrom('tokens')
    .selectAll()
    .orderBy('created_at', 'desc')
    .limit(1000)
    .execute();
  return rows.map((row) => ({
    id: row.id,
    usesLeft: row.uses_left,
    usesTotal: row.uses_total,
    expiresAt: row.expires_at,
    groups: JSON.parse(row.groups_json) as string[],
  }));
}

async function enrol(deps: EnrolmentDeps, request: EnrolRequest): Promise<EnrolAnswer> {
  const { store, clock, entropy, authority, fleet } = deps;
  await rootsOrRefuse(store);
  await refuseErased(store, request.reportKey);
  const device = await freshId(store, entropy);
  // Signed before the token is spent: a bad request must not cost a use, and nothing is given out on failure.
  await checkToken(store, clock, request.token);
  const issued = await authority.signDevice(request.csr, device);
  await store.transaction().execute(async (tx) => {
    const groups = await spendToken(tx, clock, request.token);
    await tx
      .insertInto('devices')
      .values({
        id: device,
        name: request.name ?? device,
        groups_json: groups,
        report_key: request.reportKey,
        cert_serial: issued.serial,
        cert_not_after: issued.notAfter,
        enrolled_at: clock.now(),
        revoked_at: null,
      })
      .execute();
  });
  const { deviceUrl, mqttUrl } = deps.addresses();
  return { device, fleet, certificate: issued.certificate, ca: authority.ca, deviceUrl, mqttUrl };
}

/** The certificates of a device that was erased would fit another one of its id. */
async function freshId(store: Store, entropy: Entropy): Promise<string> {
  const id = `d-${newId(entropy, 10)}`;
  return (await isErased(store, id)) ? freshId(store, entropy) : id;
}

async function refuseErased(store: Store, reportKey: string): Promise<void> {
  if (!(await isErased(store, reportKey, 'report-key'))) return;
  throw new SkeinError('FORBIDDEN', 'this device’s key was erased and never enrols again', {
    fix: 'Run `skein-agent erase` on the device, then enrol it anew: it makes new keys.',
  });
}

/** @throws SkeinError TOKEN_INVALID, TOKEN_EXPIRED, TOKEN_USED */
async function checkToken(store: Store | Transaction<Tables>, clock: Clock, token: string) {
  const fix = 'Make a new token with `skein tokens create`.';
  const [id = '', secret = ''] = token.split('.');
  const row = await store.selectFrom('tokens').selectAll().where('id', '=', id).executeTakeFirst();
  if (!row || !sameText(row.secret_hash, hashSecret(secret))) {
    throw new SkeinError('TOKEN_INVALID', 'the server knows no such claim token', { fix });
  }
  if (row.expires_at <= clock.now()) {
    const at = new Date(row.expires_at).toISOString();
    throw new SkeinError('TOKEN_EXPIRED', `claim token ${id} expired at ${at}`, { fix });
  }
  if (row.uses_left <= 0) throw new SkeinError('TOKEN_USED', `claim token ${id} has been used`, { fix });
  return row;
}

async function spendToken(tx: Transaction<Tables>, clock: Clock, token: string): Promise<string> {
  const row = await checkToken(tx, clock, token);
  await tx
    .updateTable('tokens')
    .set({ uses_left: row.uses_left - 1 })
    .where('id', '=', row.id)
    .execute();
  return row.groups_json;
}

async function renew(deps: EnrolmentDeps, request: RenewRequest): Promise<{ certificate: string }> {
  const { store, clock, authority, verify } = deps;
  const row = await store
    .selectFrom('devices')
    .select(['report_key', 'revoked_at'])
    .where('id', '=', request.device)
    .executeTakeFirst();
  const signed = renewalBytes(request.device, request.at, request.csr);
  const valid = row && verify(hexToBytes(row.report_key), signed, hexToBytes(request.signature));
  if (!row || !valid || row.revoked_at !== null) {
    throw new SkeinError(
      'UNAUTHENTICATED',
      `${request.device} may not renew: unknown, revoked or not its key`,
      {
        fix: 'Enrol the device again with a new token.',
      },
    );
  }
  if (Math.abs(request.at - clock.now()) > RENEWAL_WINDOW) {
    throw new SkeinError('UNAUTHENTICATED', 'the renewal was signed at a very different time', {
      fix: 'Set the clock of the device.',
    });
  }
  const issued = await authority.signDevice(request.csr, request.device);
  await store
    .updateTable('devices')
    .set({ cert_serial: issued.serial, cert_not_after: issued.notAfter })
    .where('id', '=', request.device)
    .execute();
  return { certificate: issued.certificate };
}
