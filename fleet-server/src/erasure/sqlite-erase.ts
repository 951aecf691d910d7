/**
 * Takes a device out of the database, a bounded step at a time. Each step is a transaction of its caller's, which also
 * writes down what it removed: a crash in between counts nothing twice and forgets nothing.
 */
import { utf8ToBytes } from '@noble/hashes/utils.js';
import { sha256Hex } from '@skein/protocol/sha256.ts';
import type { Sha256Hex } from '@skein/protocol/units.ts';
import { type Kysely, type RawBuilder, sql } from 'kysely';
import type { Tables } from '../store/schema.ts';
import { ERASABLE, type Erasable, FATES } from './fates.ts';

type Db = Kysely<Tables>;

/** Rows of one step: their pages are overwritten with zeros while the server waits. */
const STEP_ROWS = 128;

export interface Part {
  kind: string;
  rows: number;
  bytes: number;
}

/** What a step would remove, by kind. */
export async function countRows(db: Db, device: string): Promise<Part[]> {
  const parts: Part[] = [];
  for (const table of ERASABLE) {
    const found = await sql<Part>`
      SELECT ${kindOf(table)} AS kind, count(*) AS rows, coalesce(sum(${await bytesOf(db, table)}), 0) AS bytes
      FROM ${sql.table(table)} WHERE device = ${device} GROUP BY 1 ORDER BY 1`.execute(db);
    parts.push(...found.rows);
  }
  for (const [table, condition] of Object.entries(shared(device))) {
    const { kind } = FATES[table as Shared];
    const found = await sql<{ n: number }>`
      SELECT count(*) AS n FROM ${sql.table(table)} WHERE ${condition}`.execute(db);
    parts.push({ kind, rows: found.rows[0]!.n, bytes: 0 });
  }
  return parts.filter((part) => part.rows > 0);
}

/** Removes some rows of the first table that has any; nothing: they are all empty of it. */
export async function eraseSomeRows(tx: Db, device: string): Promise<Part[]> {
  for (const table of ERASABLE) {
    const gone = await sql<{ kind: string; bytes: number }>`
      DELETE FROM ${sql.table(table)}
      WHERE rowid IN (SELECT rowid FROM ${sql.table(table)} WHERE device = ${device} LIMIT ${STEP_ROWS})
      RETURNING ${kindOf(table)} AS kind, ${await bytesOf(tx, table)} AS bytes`.execute(tx);
    if (gone.rows.length > 0) return gone.rows.map((row) => ({ ...row, rows: 1 }));
  }
  return [];
}

type Shared = 'rollouts' | 'effects' | 'idempotency';
/** Inside JSON an id stands in quotes, which tells `d-1` from `d-10`. */
const shared = (device: string): Record<Shared, RawBuilder<boolean>> => ({
  rollouts: sql<boolean>`instr(doc_json, ${`"${device}"`}) > 0`,
  effects: sql<boolean>`instr(body_json, ${`"device":"${device}"`}) > 0`,
  idempotency: sql<boolean>`instr(body, ${`"${device}"`}) > 0`,
});

/** Takes the device out of one rollout that names it; nothing: none does. @param erase rollouts have a machine for it */
export async function eraseFromRollout(
  tx: Db,
  device: string,
  erase: (tx: Db, rollout: string) => Promise<void>,
): Promise<Part[]> {
  const { rollouts } = shared(device);
  const found = await tx.selectFrom('rollouts').select('id').where(rollouts).limit(1).executeTakeFirst();
  if (!found) return [];
  const size = async () => {
    const query = tx.selectFrom('rollouts').select(sql<number>`octet_length(doc_json)`.as('bytes'));
    return (await query.where('id', '=', found.id).executeTakeFirstOrThrow()).bytes;
  };
  const before = await size();
  await erase(tx, found.id);
  return [{ kind: FATES.rollouts.kind, rows: 1, bytes: Math.max(0, before - (await size())) }];
}

/** Effects on the device, its id in answers kept for retries, and what the audit log says about it. */
export async function eraseShared(tx: Db, device: string, pseudonym: string): Promise<Part[]> {
  const { effects, idempotency } = shared(device);
  const gone = await sql<{ bytes: number }>`
    DELETE FROM effects WHERE ${effects} RETURNING octet_length(body_json) AS bytes`.execute(tx);
  const answers = await tx
    .updateTable('idempotency')
    .set({ body: sql<string>`replace(body, ${`"${device}"`}, '"erased"')` })
    .where(idempotency)
    .executeTakeFirst();
  const said = await sql<{ bytes: number }>`
    DELETE FROM audit_details WHERE pseudonym = ${pseudonym}
    RETURNING octet_length(detail_json) + octet_length(salt) AS bytes`.execute(tx);
  const rewritten = Number(answers.numUpdatedRows);
  return [
    ...gone.rows.map((row) => ({ kind: FATES.effects.kind, rows: 1, ...row })),
    { kind: FATES.idempotency.kind, rows: rewritten, bytes: rewritten * device.length },
    ...said.rows.map((row) => ({ kind: FATES.audit_details.kind, rows: 1, ...row })),
  ];
}

/** The identity itself. undefined: there is no such device */
export async function eraseEnrolment(
  tx: Db,
  device: string,
): Promise<(Part & { reportKey: string }) | undefined> {
  const gone = await sql<{ key: string; bytes: number }>`
    DELETE FROM devices WHERE id = ${device}
    RETURNING report_key AS key, ${await bytesOf(tx, 'devices')} AS bytes`.execute(tx);
  const [row] = gone.rows;
  return row && { kind: FATES.devices.kind, rows: 1, bytes: row.bytes, reportKey: row.key };
}

export interface Chains {
  streams: number;
  records: number;
  sha256: Sha256Hex;
}

/** What the device's signed streams amounted to. Its own disk, or a backup, can prove that these were they. */
export async function chainsOf(db: Db, device: string): Promise<Chains> {
  const streams = await db.selectFrom('streams').selectAll().where('device', '=', device).execute();
  const lines = streams.map(({ stream, epoch, next_seq, head }) =>
    JSON.stringify([stream, epoch, next_seq, head]),
  );
  return {
    streams: lines.length,
    records: streams.reduce((sum, { next_seq }) => sum + next_seq, 0),
    sha256: sha256Hex(utf8ToBytes(lines.toSorted().join('\n'))),
  };
}

const kindOf = (table: Erasable): RawBuilder<string> => {
  const { kind, by } = FATES[table];
  return by ? sql<string>`${kind} || ' ' || ${sql.ref(by)}` : sql<string>`${sql.lit(kind)}`;
};

/** Of everything in a row, as it is stored. */
async function bytesOf(db: Db, table: string): Promise<RawBuilder<number>> {
  const columns = await sql<{ name: string }>`SELECT name FROM pragma_table_info(${table})`.execute(db);
  const sizes = columns.rows.map(({ name }) => sql`coalesce(octet_length(${sql.ref(name)}), 0)`);
  return sql<number>`${sql.join(sizes, sql` + `)}`;
}
