/**
 * A log from before there were pseudonyms names its devices: once, at the first start, they are replaced and the chain
 * is made anew from the first of them on. The log itself says so, with the head before and whether it held.
 */
import type { Kysely } from 'kysely';
import type { Tables } from '../store/schema.ts';
import { type AuditDeps, appendAudit, auditHead, GENESIS, hashEntry, hide, keepDetail } from './audit.ts';
import { pseudonymOf } from './pseudonyms.ts';
import { verifyAudit } from './verify-audit.ts';

type Db = Kysely<Tables>;

const DONE = 'audit.pseudonyms';
/** Those whose subject was a device's id. */
const ABOUT_DEVICES = ['enrol', 'changeDevice', 'revokeDevice', 'watchDevice'];
const PAGE = 500;

/** One transaction; does nothing when it was done before. */
export async function pseudonymiseAudit(db: Db, deps: AuditDeps): Promise<void> {
  await db.transaction().execute(async (tx) => {
    const done = await tx.selectFrom('meta').select('key').where('key', '=', DONE).executeTakeFirst();
    if (done) return;
    await tx.insertInto('meta').values({ key: DONE, value: '1' }).execute();
    const before = await verifyAudit(tx);
    const headBefore = await auditHead(tx);
    const replaced = await rewrite(tx, deps);
    if (replaced === 0) return;
    const detail = { replaced, headBefore, brokenBefore: before.broken?.seq ?? null };
    await appendAudit(tx, deps, { actor: 'server', action: 'pseudonymiseAudit', subject: '', detail });
  });
}

/** @returns how many entries were about devices */
async function rewrite(tx: Db, deps: AuditDeps): Promise<number> {
  let replaced = 0;
  let previous = GENESIS;
  for (let after = 0; ; ) {
    const rows = await tx
      .selectFrom('audit')
      .selectAll()
      .where('seq', '>', after)
      .orderBy('seq')
      .limit(PAGE)
      .execute();
    for (const row of rows) {
      const about = ABOUT_DEVICES.includes(row.action) && row.subject !== '';
      const named = about ? await withoutName(tx, deps, row) : row;
      const { seq, hash: _, ...rest } = { ...named, previous };
      previous = hashEntry(rest);
      await tx
        .updateTable('audit')
        .set({ ...rest, hash: previous })
        .where('seq', '=', seq)
        .execute();
      if (about) replaced++;
      after = seq;
    }
    if (rows.length === 0) return replaced;
  }
}

type Row = { seq: number; subject: string; detail_json: string };

async function withoutName<R extends Row>(tx: Db, { entropy }: AuditDeps, row: R): Promise<R> {
  const pseudonym = await pseudonymOf(tx, entropy, row.subject);
  const hidden = hide(entropy, row.detail_json);
  if (!hidden) return { ...row, subject: pseudonym };
  const { seq, detail_json } = row;
  await keepDetail(tx, { seq, pseudonym, salt: hidden.salt, detail_json });
  return { ...row, subject: pseudonym, detail_json: hidden.commitment };
}
