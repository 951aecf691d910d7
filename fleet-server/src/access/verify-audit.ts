/**
 * Does the audit log hold? Three things are checked of each entry: it follows from the one before; what is said about a
 * device beside the chain is what the chain covers; and where that or the device's name is missing, an entry of the log
 * itself says that the device was erased.
 */
import type { Millis, Sha256Hex } from '@skein/protocol/units.ts';
import type { Kysely } from 'kysely';
import type { Tables } from '../store/schema.ts';
import { commitmentOf, GENESIS, hashEntry } from './audit.ts';

type Db = Kysely<Tables>;

export const ERASED = 'eraseDevice';

export interface AuditVerdict {
  entries: number;
  /** Hash of the newest entry that holds; note it elsewhere, and nobody can make the log anew unseen. */
  head: Sha256Hex;
  newestAt: Millis | null;
  /** undefined: all of it holds. */
  broken?: { seq: number; why: string };
}

const PAGE = 500;

export async function verifyAudit(db: Db): Promise<AuditVerdict> {
  const gone = await erasedPseudonyms(db);
  const verdict: AuditVerdict = { entries: 0, head: GENESIS, newestAt: null };
  for (let after = 0; ; ) {
    const rows = await entriesAfter(db, after);
    for (const row of rows) {
      const why = faultOf(row, verdict.head, gone);
      if (why !== undefined) return { ...verdict, broken: { seq: row.seq, why } };
      verdict.head = row.hash;
      verdict.newestAt = row.at;
      verdict.entries++;
      after = row.seq;
    }
    if (rows.length === 0) return verdict;
  }
}

/** The sequence number of the first entry that does not hold; undefined: all do. */
export const findBrokenAudit = async (db: Db): Promise<number | undefined> =>
  (await verifyAudit(db)).broken?.seq;

const entriesAfter = (db: Db, seq: number) =>
  db
    .selectFrom('audit as a')
    .leftJoin('audit_details as d', 'd.seq', 'a.seq')
    .leftJoin('pseudonyms as p', 'p.pseudonym', 'a.subject')
    .selectAll('a')
    .select(['d.salt', 'd.detail_json as hidden', 'p.device'])
    .where('a.seq', '>', seq)
    .orderBy('a.seq')
    .limit(PAGE)
    .execute();
type Row = Awaited<ReturnType<typeof entriesAfter>>[number];

function faultOf(row: Row, previous: Sha256Hex, gone: ReadonlySet<string>): string | undefined {
  if (row.previous !== previous) return 'it does not follow from the entry before';
  if (row.hash !== hashEntry(row)) return 'it was changed';
  const { salt, hidden, detail_json, subject, device } = row;
  if (salt !== null && hidden !== null) {
    return commitmentOf(salt, hidden) === detail_json
      ? undefined
      : 'what it says about its device was changed';
  }
  if (!isPseudonym(subject) || gone.has(subject)) return undefined;
  if (device === null) return 'its device’s name is missing, and no entry says that the device was erased';
  return isCommitment(detail_json) ? 'what it said about its device is missing' : undefined;
}

const isPseudonym = (subject: string): boolean => /^p-[a-z0-9]{12}$/.test(subject);
const isCommitment = (detail: string): boolean => /^\{"sha256":"[0-9a-f]{64}"\}$/.test(detail);

async function erasedPseudonyms(db: Db): Promise<Set<string>> {
  const rows = await db.selectFrom('audit').select('subject').where('action', '=', ERASED).execute();
  // Their entry is the last thing that is written.
  const open = await db.selectFrom('erasures').select('pseudonym').where('state', '!=', 'done').execute();
  return new Set([...rows.map(({ subject }) => subject), ...open.map(({ pseudonym }) => pseudonym)]);
}
