/** The record of each erasure: begun with the act that refuses the device, grown with each step, closed with its proof. */
import type { ErasurePlan, ErasureView } from '@skein/protocol/api.ts';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Kysely, Selectable } from 'kysely';
import { type AuditDeps, appendAudit } from '../access/audit.ts';
import { pseudonymOf } from '../access/pseudonyms.ts';
import { ERASED } from '../access/verify-audit.ts';
import type { Tables } from '../store/schema.ts';
import { add, asList, FATES, type Removed, rowsOf } from './fates.ts';
import { identityHash, isErased, mask } from './identity.ts';
import { type Chains, chainsOf, countRows, eraseEnrolment, type Part } from './sqlite-erase.ts';

type Db = Kysely<Tables>;
export type ErasureRow = Selectable<Tables['erasures']>;
export type ErasureState = ErasureView['state'];

/** Of one that is being erased: what is left. @throws SkeinError NOT_FOUND */
export async function planErasure(db: Db, device: string, topics: number): Promise<ErasurePlan> {
  const row = await db.selectFrom('devices').select('name').where('id', '=', device).executeTakeFirst();
  if (!row && !(await erasureOf(db, device))) throw await unknown(db, device);
  const kinds = await countRows(db, device);
  const enrolment = row ? [{ kind: FATES.devices.kind, rows: 1, bytes: 0 }] : [];
  return { device, name: row?.name ?? '', kinds: [...kinds, ...enrolment], topics };
}

const erasureOf = (db: Db, device: string): Promise<ErasureRow | undefined> =>
  db.selectFrom('erasures').selectAll().where('masked', '=', mask(device)).executeTakeFirst();

async function unknown(db: Db, device: string): Promise<SkeinError> {
  return (await isErased(db, device))
    ? new SkeinError('NOT_FOUND', `${device} has been erased already; nothing of it is here`, {
        fix: '`skein devices erasures` shows what was erased, by pseudonym.',
      })
    : new SkeinError('NOT_FOUND', `there is no device ${device}`, {
        fix: '`skein devices list` shows all ids.',
      });
}

/** One transaction: from its commit on the device is nobody. One that is being erased goes on. @throws SkeinError NOT_FOUND */
export async function beginErasure(db: Db, deps: AuditDeps, device: string, by: string): Promise<ErasureRow> {
  const begun = await erasureOf(db, device);
  if (begun) return begun;
  const parts = await countRows(db, device);
  return db.transaction().execute(async (tx) => {
    const enrolment = await eraseEnrolment(tx, device);
    if (!enrolment) throw await unknown(tx, device);
    const { reportKey, ...part } = enrolment;
    // Before it is nobody, who gets none.
    const pseudonym = await pseudonymOf(tx, deps.entropy, device);
    const identities = [identityHash('id', device), identityHash('report-key', reportKey)];
    await tx
      .insertInto('erased')
      .values(identities.map((identity) => ({ identity })))
      .onConflict((c) => c.doNothing())
      .execute();
    return tx
      .insertInto('erasures')
      .values({
        pseudonym,
        state: 'erasing' satisfies ErasureState,
        masked: mask(device),
        by,
        begun_at: deps.clock.now(),
        finished_at: null,
        total: rowsOf(add({}, [...parts, part])),
        removed_json: JSON.stringify(add({}, [part])),
        chains_json: null,
        search_json: null,
        audit_seq: null,
      })
      .returningAll()
      .executeTakeFirstOrThrow();
  });
}

/** Adds what a step removed, in its transaction. */
export async function noteRemoved(tx: Db, pseudonym: string, parts: readonly Part[]): Promise<void> {
  const row = await readErasure(tx, pseudonym);
  const removed_json = JSON.stringify(add(JSON.parse(row.removed_json) as Removed, parts));
  await tx.updateTable('erasures').set({ removed_json }).where('pseudonym', '=', pseudonym).execute();
}

/** Before the first row goes, and after nothing can come any more. */
export async function noteChains(tx: Db, pseudonym: string, device: string): Promise<void> {
  const chains_json = JSON.stringify(await chainsOf(tx, device));
  await tx.updateTable('erasures').set({ chains_json }).where('pseudonym', '=', pseudonym).execute();
}

/** Did something that was under way name the device again? Then it is erased again. */
export async function isNamed(db: Db, device: string): Promise<boolean> {
  await db.deleteFrom('pseudonyms').where('device', '=', device).execute();
  return (await countRows(db, device)).length > 0;
}

export const enter = async (tx: Db, pseudonym: string, state: ErasureState): Promise<void> =>
  void (await tx.updateTable('erasures').set({ state }).where('pseudonym', '=', pseudonym).execute());

export interface Found {
  files: number;
  bytes: number;
  found: number;
}

/** One transaction: the id's last trace goes, and the audit log says what was done. */
export async function finishErasure(db: Db, deps: AuditDeps, pseudonym: string, found: Found): Promise<void> {
  await db.transaction().execute(async (tx) => {
    const row = await readErasure(tx, pseudonym);
    const detail = {
      begunAt: row.begun_at,
      removed: JSON.parse(row.removed_json) as Removed,
      chains: chainsIn(row),
      search: found,
    };
    await appendAudit(tx, deps, { actor: row.by, action: ERASED, subject: pseudonym, detail });
    const { seq } = await tx
      .selectFrom('audit')
      .select('seq')
      .orderBy('seq', 'desc')
      .limit(1)
      .executeTakeFirstOrThrow();
    const finished = { finished_at: deps.clock.now(), search_json: JSON.stringify(found), audit_seq: seq };
    await tx
      .updateTable('erasures')
      .set({ ...finished, state: 'done' satisfies ErasureState, masked: null })
      .where('pseudonym', '=', pseudonym)
      .execute();
  });
}

const chainsIn = (row: ErasureRow): Chains | null =>
  row.chains_json === null ? null : (JSON.parse(row.chains_json) as Chains);

/** @throws SkeinError NOT_FOUND */
export async function readErasure(db: Db, pseudonym: string): Promise<ErasureRow> {
  const row = await db
    .selectFrom('erasures')
    .selectAll()
    .where('pseudonym', '=', pseudonym)
    .executeTakeFirst();
  if (row) return row;
  throw new SkeinError('NOT_FOUND', `there is no erasure of ${pseudonym}`, {
    fix: '`skein devices erasures` lists them, by pseudonym.',
  });
}

export const openErasures = (db: Db): Promise<ErasureRow[]> =>
  db.selectFrom('erasures').selectAll().where('masked', 'is not', null).orderBy('begun_at').execute();

/** Newest first. */
export const listErasures = (db: Db, limit: number): Promise<ErasureRow[]> =>
  db.selectFrom('erasures').selectAll().orderBy('begun_at', 'desc').limit(limit).execute();

export function erasureView(row: ErasureRow, trouble: string | null): ErasureView {
  return {
    pseudonym: row.pseudonym,
    state: row.state as ErasureState,
    by: row.by,
    begunAt: row.begun_at,
    finishedAt: row.finished_at,
    total: row.total,
    removed: asList(JSON.parse(row.removed_json) as Removed),
    chains: chainsIn(row),
    search: row.search_json === null ? null : (JSON.parse(row.search_json) as Found),
    auditSeq: row.audit_seq,
    trouble,
  };
}
