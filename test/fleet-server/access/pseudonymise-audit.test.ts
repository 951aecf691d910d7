import { GENESIS, hashEntry } from '@skein/fleet-server/access/audit.ts';
import { auditViews } from '@skein/fleet-server/access/audit-views.ts';
import { pseudonymiseAudit } from '@skein/fleet-server/access/pseudonymise-audit.ts';
import { verifyAudit } from '@skein/fleet-server/access/verify-audit.ts';
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

/** As versions before this one wrote them. */
async function writeOld(...said: [action: string, subject: string, detail: object][]): Promise<string> {
  let previous = GENESIS;
  for (const [action, subject, detail] of said) {
    const row = { previous, at: 5, actor: 'key:a', action, subject, detail_json: JSON.stringify(detail) };
    previous = hashEntry(row);
    await store
      .insertInto('audit')
      .values({ ...row, hash: previous })
      .execute();
  }
  return previous;
}
const entries = () => store.selectFrom('audit').selectAll().orderBy('seq').execute();

describe('a log of an older version', () => {
  it('loses the devices’ names and keeps everything else, once', async () => {
    const head = await writeOld(
      ['createToken', 'abc', { uses: 1 }],
      ['enrol', 'd-roof', {}],
      ['changeDevice', 'd-roof', { name: 'roof' }],
      ['steerRollout', 'r-1/pause', {}],
      ['revokeDevice', 'd-roof', {}],
    );
    await pseudonymiseAudit(store, deps);
    expect(JSON.stringify(await entries())).not.toMatch(/d-roof|"roof/);
    expect((await verifyAudit(store)).broken).toBeUndefined();
    const views = await auditViews(store, await entries());
    expect(views.map(({ action, subject, detail }) => [action, subject, detail])).toEqual([
      ['createToken', 'abc', { uses: 1 }],
      ['enrol', 'd-roof', {}],
      ['changeDevice', 'd-roof', { name: 'roof' }],
      ['steerRollout', 'r-1/pause', {}],
      ['revokeDevice', 'd-roof', {}],
      ['pseudonymiseAudit', '', { replaced: 3, headBefore: head, brokenBefore: null }],
    ]);
    const before = await entries();
    await pseudonymiseAudit(store, deps);
    expect(await entries()).toEqual(before);
  });

  it('that did not hold is not made whole in silence', async () => {
    await writeOld(['enrol', 'd-a', {}], ['enrol', 'd-b', {}], ['enrol', 'd-c', {}]);
    await store.deleteFrom('audit').where('seq', '=', 2).execute();
    await pseudonymiseAudit(store, deps);
    const last = (await entries()).at(-1)!;
    expect(JSON.parse(last.detail_json)).toMatchObject({ replaced: 2, brokenBefore: 3 });
  });

  it('without devices is left as it is', async () => {
    await writeOld(['createToken', 'abc', { uses: 1 }]);
    const before = await entries();
    await pseudonymiseAudit(store, deps);
    expect(await entries()).toEqual(before);
  });
});
