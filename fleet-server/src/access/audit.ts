/**
 * The audit log is a hash chain: each entry's hash covers the one before, so an entry can not be changed or taken
 * out unseen. `hash` = SHA-256 over the JSON array [previous, at, actor, action, subject, detail].
 *
 * A device stands in it under a pseudonym (`pseudonyms.ts`). What is said about a device lies beside the chain, which
 * covers SHA-256 of salt and text: after the device is erased both are gone and the chain still holds.
 */
import { bytesToHex, utf8ToBytes } from '@noble/hashes/utils.js';
import type { Clock, Entropy } from '@skein/protocol/ports.ts';
import { sha256Hex } from '@skein/protocol/sha256.ts';
import type { Millis, Sha256Hex } from '@skein/protocol/units.ts';
import type { Kysely } from 'kysely';
import { isErased } from '../erasure/identity.ts';
import type { Tables } from '../store/schema.ts';
import { pseudonymOf } from './pseudonyms.ts';

type Db = Kysely<Tables>;

export const GENESIS: Sha256Hex = '0'.repeat(64);

export interface AuditDeps {
  clock: Clock;
  entropy: Entropy;
}

export interface AuditEntry {
  actor: string;
  /** Route name, e.g. `createToken`. */
  action: string;
  /** What it was done to: a token, rollout or model id; empty when there is none. Never a device's id. */
  subject: string;
  /** The device it was done to, instead of a subject. */
  device?: string;
  detail: Record<string, unknown>;
}

export interface Hashed {
  previous: string;
  at: Millis;
  actor: string;
  action: string;
  subject: string;
  detail_json: string;
}

export const hashEntry = (e: Hashed): Sha256Hex =>
  sha256Hex(utf8ToBytes(JSON.stringify([e.previous, e.at, e.actor, e.action, e.subject, e.detail_json])));

/** In a transaction of its own, or in the one that `db` is. */
export async function appendAudit(db: Db, deps: AuditDeps, entry: AuditEntry): Promise<void> {
  if (db.isTransaction) return append(db, deps, entry);
  return db.transaction().execute((tx) => append(tx, deps, entry));
}

async function append(tx: Db, deps: AuditDeps, entry: AuditEntry): Promise<void> {
  const { actor, action, device, detail } = entry;
  const subject = device === undefined ? entry.subject : await pseudonymOf(tx, deps.entropy, device);
  const gone = device !== undefined && (await isErased(tx, device));
  const text = gone ? '{}' : JSON.stringify(detail);
  const hidden = device === undefined ? undefined : hide(deps.entropy, text);
  const row = {
    previous: await auditHead(tx),
    at: deps.clock.now(),
    ...{ actor, action, subject },
    detail_json: hidden?.commitment ?? text,
  };
  const { seq } = await tx
    .insertInto('audit')
    .values({ ...row, hash: hashEntry(row) })
    .returning('seq')
    .executeTakeFirstOrThrow();
  if (hidden) await keepDetail(tx, { seq, pseudonym: subject, salt: hidden.salt, detail_json: text });
}

export interface Hidden {
  salt: string;
  commitment: string;
}

/** What the chain says of a text that may have to go; undefined where there is nothing to hide. */
export function hide(entropy: Entropy, text: string): Hidden | undefined {
  if (text === '{}') return undefined;
  const salt = bytesToHex(entropy.bytes(16));
  return { salt, commitment: commitmentOf(salt, text) };
}

export const commitmentOf = (salt: string, text: string): string =>
  JSON.stringify({ sha256: sha256Hex(utf8ToBytes(`${salt}\n${text}`)) });

export const keepDetail = async (tx: Db, row: Tables['audit_details']): Promise<void> =>
  void (await tx.insertInto('audit_details').values(row).execute());

/** Hash of the newest entry. */
export async function auditHead(db: Db): Promise<Sha256Hex> {
  const last = await db.selectFrom('audit').select('hash').orderBy('seq', 'desc').limit(1).executeTakeFirst();
  return last?.hash ?? GENESIS;
}
