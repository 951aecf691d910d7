/**
 * The audit log is a hash chain: each entry's hash covers the one before, so an entry can not be changed or taken
 * out unseen. `hash` = SHA-256 over the JSON array [previous, at, actor, action, subject, detail].
 * Subjects are ids (pseudonyms), so erasing a name elsewhere does not break the chain.
 */
import { utf8ToBytes } from '@noble/hashes/utils.js';
import type { Clock } from '@skein/protocol/ports.ts';
import { sha256Hex } from '@skein/protocol/sha256.ts';
import type { Sha256Hex } from '@skein/protocol/units.ts';
import type { Store } from '../store/sqlite-store.ts';

const GENESIS: Sha256Hex = '0'.repeat(64);

export interface AuditEntry {
  actor: string;
  /** Route name, e.g. `createToken`. */
  action: string;
  /** What it was done to: a device, token, rollout or model id; empty when there is none. */
  subject: string;
  detail: Record<string, unknown>;
}

interface Hashed {
  previous: string;
  at: number;
  actor: string;
  action: string;
  subject: string;
  detail_json: string;
}

const hashEntry = (e: Hashed): Sha256Hex =>
  sha256Hex(utf8ToBytes(JSON.stringify([e.previous, e.at, e.actor, e.action, e.subject, e.detail_json])));

export async function appendAudit(store: Store, clock: Clock, entry: AuditEntry): Promise<void> {
  await store.transaction().execute(async (tx) => {
    const last = await tx
      .selectFrom('audit')
      .select('hash')
      .orderBy('seq', 'desc')
      .limit(1)
      .executeTakeFirst();
    const { detail, ...rest } = entry;
    const row = {
      ...rest,
      at: clock.now(),
      detail_json: JSON.stringify(detail),
      previous: last?.hash ?? GENESIS,
    };
    await tx
      .insertInto('audit')
      .values({ ...row, hash: hashEntry(row) })
      .execute();
  });
}

/** The sequence number of the first entry that does not follow from the one before; undefined: the chain holds. */
export async function findBrokenAudit(store: Store): Promise<number | undefined> {
  let previous = GENESIS;
  for (let after = 0; ; ) {
    const rows = await store
      .selectFrom('audit')
      .selectAll()
      .where('seq', '>', after)
      .orderBy('seq')
      .limit(500)
      .execute();
    for (const row of rows) {
      if (row.previous !== previous || row.hash !== hashEntry(row)) return row.seq;
      previous = row.hash;
      after = row.seq;
    }
    if (rows.length === 0) return undefined;
  }
}
