import { type AuditEntry, appendAudit } from '@skein/fleet-server/access/audit.ts';
import { auditViews } from '@skein/fleet-server/access/audit-views.ts';
import { findBrokenAudit, verifyAudit } from '@skein/fleet-server/access/verify-audit.ts';
import { openSqliteStore, type Store } from '@skein/fleet-server/store/sqlite-store.ts';
import { systemEntropy } from '@skein/fleet-server/system-clock.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { manualClock } from '../../agent/manual-clock.ts';

let store: Store;
const deps = { clock: manualClock(), entropy: systemEntropy };

beforeEach(async () => {
  store = await openSqliteStore(':memory:');
});
afterEach(() => store.destroy());

const write = async (n: number) => {
  for (let i = 0; i < n; i += 1) {
    const entry = { actor: 'key:a', action: 'createToken', subject: `t-${i}`, detail: { i } };
    await appendAudit(store, deps, entry);
  }
};
const rename = (device: string, name: string): AuditEntry => ({
  actor: 'key:a',
  action: 'changeDevice',
  subject: '',
  device,
  detail: { name },
});
const entries = () => store.selectFrom('audit').selectAll().orderBy('seq').execute();
const views = async () => auditViews(store, await entries());

describe('the audit log', () => {
  it('holds as it was written, also when entries are written at the same time', async () => {
    await Promise.all([write(20), write(20), write(20)]);
    expect(await entries()).toHaveLength(60);
    expect(await verifyAudit(store)).toMatchObject({ entries: 60, head: (await entries()).at(-1)!.hash });
    expect(await findBrokenAudit(store)).toBeUndefined();
  });

  it.each([
    ['changed', () => store.updateTable('audit').set({ actor: 'key:b' }).where('seq', '=', 4).execute(), 4],
    ['taken out', () => store.deleteFrom('audit').where('seq', '=', 4).execute(), 5],
    ['re-dated', () => store.updateTable('audit').set({ at: 0 }).where('seq', '=', 7).execute(), 7],
  ])('shows where an entry was %s', async (_what, tamper, broken) => {
    await write(9);
    await tamper();
    expect(await findBrokenAudit(store)).toBe(broken);
  });
});

describe('a device in the audit log', () => {
  it('stands in the chain under one pseudonym, and is shown by its id', async () => {
    await appendAudit(store, deps, rename('d-roof', 'roof'));
    await appendAudit(store, deps, rename('d-roof', 'cellar'));
    await appendAudit(store, deps, { ...rename('d-other', 'x'), action: 'revokeDevice', detail: {} });
    const rows = await entries();
    expect(JSON.stringify(rows)).not.toMatch(/d-roof|d-other|cellar/);
    expect(rows[0]!.subject).toMatch(/^p-[a-z0-9]{12}$/);
    expect(rows[1]!.subject).toBe(rows[0]!.subject);
    expect(rows[2]!.subject).not.toBe(rows[0]!.subject);
    const [first, second] = await views();
    expect(first).toMatchObject({
      subject: 'd-roof',
      pseudonym: rows[0]!.subject,
      detail: { name: 'roof' },
    });
    expect(second).toMatchObject({ subject: 'd-roof', detail: { name: 'cellar' } });
  });

  it('is nobody any more when name and words are gone and the log says that it was erased', async () => {
    await appendAudit(store, deps, rename('d-roof', 'roof'));
    await write(2);
    const { subject } = (await entries())[0]!;
    const { head } = await verifyAudit(store);
    await store.deleteFrom('pseudonyms').execute();
    await store.deleteFrom('audit_details').execute();
    expect((await verifyAudit(store)).broken).toMatchObject({ seq: 1, why: expect.stringContaining('name') });
    await appendAudit(store, deps, { actor: 'key:a', action: 'eraseDevice', subject, detail: { rows: 3 } });
    expect(await verifyAudit(store)).toMatchObject({ entries: 4 });
    expect((await entries())[3]!.previous).toBe(head);
    const [first] = await views();
    expect(first).toMatchObject({ subject, pseudonym: null, detail: { sha256: expect.any(String) } });
  });

  it.each([
    ['were changed', () => store.updateTable('audit_details').set({ detail_json: '{"name":"x"}' })],
    ['are missing', () => store.deleteFrom('audit_details')],
  ])('is noticed when words about it %s', async (_what, tamper) => {
    await write(1);
    await appendAudit(store, deps, rename('d-roof', 'roof'));
    await tamper().execute();
    expect(await findBrokenAudit(store)).toBe(2);
  });
});
