/** The `trust_documents` table: signed metadata as uploaded or made here, each version once. */

import type { Repo } from '@skein/protocol/trust/expiry.ts';
import type { TopRole } from '@skein/protocol/trust/root-chain.ts';
import type { Millis } from '@skein/protocol/units.ts';
import type { Transaction } from 'kysely';
import type { Tables } from '../store/schema.ts';
import type { Store } from '../store/sqlite-store.ts';

export type Db = Store | Transaction<Tables>;
export type DocumentRole = TopRole;

export interface StoredDocument {
  version: number;
  bytes: Uint8Array;
}

export async function latestDocument(
  db: Db,
  repo: Repo,
  role: DocumentRole,
): Promise<StoredDocument | undefined> {
  const row = await select(db, repo, role).orderBy('version', 'desc').limit(1).executeTakeFirst();
  return row && { version: row.version, bytes: new Uint8Array(row.bytes) };
}

export async function documentAt(
  db: Db,
  repo: Repo,
  role: DocumentRole,
  version: number,
): Promise<Uint8Array | undefined> {
  const row = await select(db, repo, role).where('version', '=', version).executeTakeFirst();
  return row && new Uint8Array(row.bytes);
}

export async function putDocument(
  tx: Transaction<Tables>,
  repo: Repo,
  role: DocumentRole,
  { version, bytes }: StoredDocument,
  now: Millis,
): Promise<void> {
  await tx.insertInto('trust_documents').values({ repo, role, version, bytes, created_at: now }).execute();
}

/** Online documents older than `keep` versions: no device asks for them any more. */
export async function pruneDocuments(
  tx: Transaction<Tables>,
  role: 'snapshot' | 'timestamp',
  keep: number,
): Promise<void> {
  const rows = await select(tx, 'image', role).orderBy('version', 'desc').execute();
  const oldest = rows[keep - 1]?.version ?? 0;
  await tx
    .deleteFrom('trust_documents')
    .where('repo', '=', 'image')
    .where('role', '=', role)
    .where('version', '<', oldest)
    .execute();
}

/** What keys signed that are withdrawn must not be served, nor may its version be a floor for what follows. */
export async function dropDocuments(
  tx: Transaction<Tables>,
  repo: Repo,
  roles: readonly DocumentRole[],
): Promise<void> {
  if (roles.length === 0) return;
  await tx
    .deleteFrom('trust_documents')
    .where('repo', '=', repo)
    .where('role', 'in', [...roles])
    .execute();
}

const select = (db: Db, repo: Repo, role: DocumentRole) =>
  (db as Store)
    .selectFrom('trust_documents')
    .select(['version', 'bytes'])
    .where('repo', '=', repo)
    .where('role', '=', role);
