/** Entries of the audit log as people read them: with the devices' ids and what was said of them, while both are there. */
import type { Kysely, Selectable } from 'kysely';
import type { Tables } from '../store/schema.ts';
import { devicesBehind } from './pseudonyms.ts';

export interface AuditView {
  seq: number;
  at: number;
  actor: string;
  action: string;
  subject: string;
  pseudonym: string | null;
  detail: unknown;
  hash: string;
}

export async function auditViews(
  db: Kysely<Tables>,
  rows: readonly Selectable<Tables['audit']>[],
): Promise<AuditView[]> {
  if (rows.length === 0) return [];
  const kept = await db
    .selectFrom('audit_details')
    .select(['seq', 'detail_json'])
    .where('seq', 'in', [...rows.map(({ seq }) => seq)])
    .execute();
  const said = new Map(kept.map(({ seq, detail_json }) => [seq, detail_json]));
  const devices = await devicesBehind(db, [...rows.map(({ subject }) => subject)]);
  return rows.map(({ seq, at, actor, action, subject, detail_json, hash }) => {
    const device = devices.get(subject);
    const detail = JSON.parse(said.get(seq) ?? detail_json) as unknown;
    const who = { subject: device ?? subject, pseudonym: device === undefined ? null : subject };
    return { seq, at, actor, action, ...who, detail, hash };
  });
}
