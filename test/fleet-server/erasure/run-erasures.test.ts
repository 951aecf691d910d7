/** The erasure of a device over a database on disk, cut short wherever it can be. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { appendAudit } from '@skein/fleet-server/access/audit.ts';
import { verifyAudit } from '@skein/fleet-server/access/verify-audit.ts';
import { searchFiles } from '@skein/fleet-server/erasure/disk-search.ts';
import { FATES } from '@skein/fleet-server/erasure/fates.ts';
import { isErased } from '@skein/fleet-server/erasure/identity.ts';
import type { ErasureDeps, Erasures } from '@skein/fleet-server/erasure/port.ts';
import { startErasures } from '@skein/fleet-server/erasure/run-erasures.ts';
import { stepRollout } from '@skein/fleet-server/rollouts/machine.ts';
import { sqliteRollouts } from '@skein/fleet-server/rollouts/sqlite-rollouts.ts';
import { MIGRATIONS } from '@skein/fleet-server/store/migrations.ts';
import { openSqliteStore, type Store } from '@skein/fleet-server/store/sqlite-store.ts';
import { systemClock, systemEntropy } from '@skein/fleet-server/system-clock.ts';
import { SkeinError } from '@skein/protocol/errors.ts';
import Database from 'better-sqlite3';
import { sql } from 'kysely';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { silent } from '../../contracts/broker-parties.ts';
import { countOf, fill, type Named, placesOf, tablesOf } from './filled.ts';

const GONE: Named = { id: 'd-erasedoneb', name: 'greenhouse-of-jane' };
const OTHER: Named = { id: 'd-keptoneabc', name: 'greenhouse-of-joe' };

let folder: string;
let store: Store;
let erasures: Erasures;
let calls: string[];
/** Searches that find something. */
let copies: number;
/** Called before each act outside of a transaction; throws to be a crash. */
let moment: (what: string) => void;
const path = () => join(folder, 'store.db');

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'skein-erase-'));
  calls = [];
  copies = 0;
  moment = () => {};
  await open();
});
afterEach(async () => {
  await erasures.stop();
  await store.destroy();
  rmSync(folder, { recursive: true, force: true });
});

async function open(): Promise<void> {
  store = await openSqliteStore(path());
  // Nothing here loses its power.
  await sql`PRAGMA synchronous = OFF`.execute(store);
  erasures = startErasures(deps());
}

const deps = (): ErasureDeps => ({
  store,
  clock: {
    ...systemClock,
    after(_ms, task) {
      moment('rest');
      return systemClock.after(0, task);
    },
  },
  entropy: systemEntropy,
  log: silent,
  forget: async (device) => {
    moment('forget');
    calls.push(`forget ${device}`);
  },
  async eraseFromRollout(tx, id, device) {
    moment('rollout');
    const rollouts = sqliteRollouts(tx);
    const row = (await rollouts.load(id))!;
    const { state, effects } = stepRollout(row.rollout, { type: 'erased', device }, 9);
    await rollouts.save(state, row.revision, effects);
  },
  settle: () => moment('settle'),
  clearTopics: async (device) => {
    moment('topics');
    calls.push(`topics ${device}`);
  },
  topics: 15,
  async search(text) {
    moment('search');
    calls.push('search');
    if (copies-- > 0) return { files: 1, bytes: 1, found: 1, places: [path()] };
    return searchFiles([folder], text);
  },
  freeBytes: async () => 1e12,
});

async function enrolled({ id, name }: Named, key = 'ab'.repeat(32)): Promise<void> {
  const dates = { cert_not_after: 1, enrolled_at: 1, revoked_at: null };
  await store
    .insertInto('devices')
    .values({ id, name, groups_json: '[]', report_key: key, cert_serial: id, ...dates })
    .execute();
  const on = { actor: 'key:a', subject: '', device: id };
  const audit = { clock: systemClock, entropy: systemEntropy };
  await appendAudit(store, audit, { ...on, action: 'enrol', detail: {} });
  await appendAudit(store, audit, { ...on, action: 'changeDevice', detail: { name } });
}

async function both(): Promise<void> {
  for (const device of [GONE, OTHER]) {
    await enrolled(device, device.id === GONE.id ? 'ab'.repeat(32) : 'cd'.repeat(32));
    await fill(store, device);
  }
}

/** Begins it and waits for its end. */
async function erase(device = GONE.id) {
  const { pseudonym } = await erasures.begin(device, 'key:admin');
  await erasures.resume();
  return erasures.show(pseudonym);
}

/** What a person with `grep` finds in the files. */
const inFiles = (text: string): string[] =>
  readdirSync(folder).filter((name) => readFileSync(join(folder, name)).includes(text));
const masked = (text: string): string => Buffer.from(text).toString('hex');

describe('every table', () => {
  it('has a fate, and none that is kept has a column for a device', async () => {
    expect((await tablesOf(store)).sort()).toEqual(Object.keys(FATES).sort());
    for (const [table, { fate }] of Object.entries(FATES)) {
      const columns = await sql<{ name: string }>`SELECT name FROM pragma_table_info(${table})`.execute(
        store,
      );
      const hasDevice = columns.rows.some(({ name }) => name === 'device');
      if (hasDevice && table !== 'pseudonyms') expect(`${table}: ${fate}`).toBe(`${table}: rows`);
    }
  });

  it('is free of an erased device: id, name, key, and what it sent', async () => {
    await both();
    const before = [...(await placesOf(store, GONE.id)), ...(await placesOf(store, GONE.name))];
    for (const [table, { fate }] of Object.entries(FATES))
      if (fate !== 'kept') expect(before.join(' ')).toContain(`${table}.`);
    const others = (await placesOf(store, OTHER.name)).length;
    const view = await erase();
    expect(view).toMatchObject({ state: 'done', trouble: null, search: { found: 0 } });
    for (const text of [GONE.name, 'ab'.repeat(32), masked(GONE.id)])
      expect(await placesOf(store, text)).toEqual([]);
    expect(await placesOf(store, GONE.id)).toEqual([]);
    expect(await placesOf(store, OTHER.name)).toHaveLength(others);
    expect(await countOf(store, 'batches')).toBe(3);
    expect(await countOf(store, 'effects')).toBe(3);
  });
});

describe('the files', () => {
  it('hold nothing of an erased device, nor of what was deleted of it before', async () => {
    await enrolled(GONE);
    await fill(store, GONE, 40);
    await store.deleteFrom('batches').where('seq', '<', 20).execute();
    await store.updateTable('presence').set({ hello_json: '{}', state_json: null }).execute();
    expect(inFiles(GONE.name)).not.toEqual([]);
    const view = await erase();
    for (const text of [GONE.id, GONE.name, masked(GONE.id), 'ab'.repeat(32)])
      expect(inFiles(text)).toEqual([]);
    expect(view.search).toMatchObject({ found: 0, files: expect.any(Number) });
    expect(view.search!.bytes).toBeGreaterThan(10_000);
  });

  it('of an older version are known to hold traces, and its drift windows begin to age', async () => {
    const older = join(folder, 'older.db');
    const database = new Database(older);
    database.exec('CREATE TABLE migrations (id TEXT PRIMARY KEY, at INTEGER NOT NULL)');
    for (const { id, sql: text } of MIGRATIONS.filter(({ id }) => id < '0007')) {
      database.exec(text);
      database.prepare('INSERT INTO migrations VALUES (?, 1)').run(id);
    }
    database.exec("INSERT INTO devices VALUES ('d-1', 'n', '[]', 'k', 's', 1, 1, NULL)");
    database.exec("INSERT INTO drift_windows VALUES ('d-1', 'b', 'm', '1', 'p', 1, 5, 'calm', '{}')");
    database.close();
    const opened = await openSqliteStore(older);
    const { received_at } = await opened
      .selectFrom('drift_windows')
      .select('received_at')
      .executeTakeFirstOrThrow();
    expect(Math.abs(Date.now() - received_at)).toBeLessThan(60_000);
    const traces = (db: Store) =>
      db.selectFrom('meta').select('key').where('key', '=', 'store.traces').execute();
    expect([await traces(opened), await traces(store)]).toEqual([[{ key: 'store.traces' }], []]);
    await opened.destroy();
  });

  it.each([
    [1, 'by making the indices again', false],
    [2, 'by writing all anew', true],
  ])('are cleaned of copies that moved cells left behind: found %i times, %s', async (times, _how, anew) => {
    await enrolled(GONE);
    await fill(store, GONE, 40);
    const pages = async () => (await sql<{ page_count: number }>`PRAGMA page_count`.execute(store)).rows[0]!;
    const before = await pages();
    copies = times;
    expect(await erase()).toMatchObject({ state: 'done', search: { found: 0 } });
    expect(calls.filter((what) => what === 'search')).toHaveLength(times + 1);
    expect((await pages()).page_count < before.page_count).toBe(anew);
  });

  it('that still hold the id after all that keep the erasure open, and it is said where', async () => {
    await enrolled(GONE);
    copies = 1e9;
    const { pseudonym } = await erasures.begin(GONE.id, 'key:admin');
    await erasures.resume();
    const trouble = expect.stringContaining(`still in ${path()}`);
    expect(await erasures.show(pseudonym)).toMatchObject({ state: 'searching', trouble, auditSeq: null });
    copies = 0;
    await expect.poll(() => erasures.show(pseudonym)).toMatchObject({ state: 'done', trouble: null });
  });

  it('are written anew when the database is older than the overwriting of what is deleted', async () => {
    await enrolled(GONE);
    await sql`PRAGMA secure_delete = OFF`.execute(store);
    await fill(store, GONE, 40);
    await store.deleteFrom('batches').execute();
    await store.deleteFrom('rollups').execute();
    await sql`PRAGMA secure_delete = ON`.execute(store);
    await store.insertInto('meta').values({ key: 'store.traces', value: '1' }).execute();
    await erase();
    for (const text of [GONE.id, GONE.name]) expect(inFiles(text)).toEqual([]);
    expect(await store.selectFrom('meta').selectAll().where('key', '=', 'store.traces').execute()).toEqual(
      [],
    );
  });
});

describe('the proof', () => {
  it('is an entry of the audit log that says who, when and what, and the chain holds', async () => {
    await both();
    const stream = {
      ...{ device: GONE.id, stream: 'health', epoch: 'e1', ordinal: 1, next_seq: 7 },
      head: 'aa',
    };
    await store.deleteFrom('streams').where('device', '=', GONE.id).execute();
    await store
      .insertInto('streams')
      .values({ ...stream, stored: 7, updated_at: 1 })
      .execute();
    const plan = await erasures.plan(GONE.id);
    expect(plan).toMatchObject({ device: GONE.id, name: GONE.name, topics: 15 });
    const view = await erase();
    const rows = (kinds: { kind: string; rows: number }[]) =>
      Object.fromEntries(kinds.map((one) => [one.kind, one.rows]));
    expect(rows(view.removed)).toMatchObject(rows(plan.kinds));
    expect(rows(view.removed)).toMatchObject({
      'batches events': 3,
      'rollout targets': 1,
      'audit details': 1,
    });
    const { sha256Hex } = await import('@skein/protocol/sha256.ts');
    const line = new TextEncoder().encode('["health","e1",7,"aa"]');
    expect(view.chains).toEqual({ streams: 1, records: 7, sha256: sha256Hex(line) });
    const entry = await store
      .selectFrom('audit')
      .selectAll()
      .where('seq', '=', view.auditSeq)
      .executeTakeFirstOrThrow();
    expect(entry).toMatchObject({ actor: 'key:admin', action: 'eraseDevice', subject: view.pseudonym });
    expect(JSON.parse(entry.detail_json)).toMatchObject({
      removed: { 'batches events': { rows: 3, bytes: expect.any(Number) } },
      chains: view.chains,
      search: { found: 0 },
    });
    expect(await verifyAudit(store)).toMatchObject({ entries: 5, head: entry.hash });
  });

  it('leaves only what refuses the identity', async () => {
    await enrolled(GONE);
    await erase();
    expect(await isErased(store, GONE.id)).toBe(true);
    expect(await isErased(store, 'ab'.repeat(32), 'report-key')).toBe(true);
    expect(await isErased(store, OTHER.id)).toBe(false);
    expect(calls[0]).toBe(`forget ${GONE.id}`);
    expect(calls.slice(-2)).toEqual([`topics ${GONE.id}`, 'search']);
  });
});

describe('an erasure', () => {
  it('is refused for a device that nobody knows, and said to be done for one that was erased', async () => {
    await expect(erasures.begin('d-nowhere', 'key:a')).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await enrolled(GONE);
    await erase();
    const known = expect.stringContaining('has been erased already');
    await expect(erasures.begin(GONE.id, 'key:a')).rejects.toMatchObject({
      code: 'NOT_FOUND',
      message: known,
    });
    await expect(erasures.plan(GONE.id)).rejects.toMatchObject({ code: 'NOT_FOUND', message: known });
    await expect(erasures.show('p-none')).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });

  it('that is asked for twice is one', async () => {
    await both();
    const [first, second] = [await erasures.begin(GONE.id, 'key:a'), await erasures.begin(GONE.id, 'key:b')];
    await erasures.resume();
    expect(second.pseudonym).toBe(first.pseudonym);
    expect(await erasures.list()).toMatchObject([{ by: 'key:a', state: 'done' }]);
  });

  it('waits for a broker that is away, says so, and the device is refused meanwhile', async () => {
    await both();
    moment = (what) => {
      if (what === 'topics') throw new SkeinError('UNREACHABLE', 'the broker is not connected');
    };
    const { pseudonym } = await erasures.begin(GONE.id, 'key:a');
    await expect
      .poll(() => erasures.show(pseudonym))
      .toMatchObject({ state: 'clearing', trouble: expect.stringContaining('UNREACHABLE') });
    expect((await verifyAudit(store)).broken).toBeUndefined();
    expect(await placesOf(store, GONE.name)).toEqual([]);
    moment = () => {};
    await expect.poll(() => erasures.show(pseudonym)).toMatchObject({ state: 'done', trouble: null });
  });

  it('takes out what was under way when it began and names the device late', async () => {
    await both();
    const audit = { clock: systemClock, entropy: systemEntropy };
    const late = { actor: 'key:a', subject: '', device: GONE.id, action: 'changeDevice' };
    let times = 0;
    const { pseudonym } = await erasures.begin(GONE.id, 'key:admin');
    moment = (what) => {
      if (what !== 'topics' || times++ > 0) return;
      void fill(store, GONE, 1);
      void appendAudit(store, audit, { ...late, detail: { name: GONE.name } });
    };
    await erasures.resume();
    expect(await erasures.show(pseudonym)).toMatchObject({ state: 'done', search: { found: 0 } });
    expect(times).toBe(2);
    await appendAudit(store, audit, { ...late, detail: { name: GONE.name } });
    for (const text of [GONE.id, GONE.name]) expect(await placesOf(store, text)).toEqual([]);
    expect((await verifyAudit(store)).broken).toBeUndefined();
    const rows = await store.selectFrom('audit').select(['action', 'subject']).orderBy('seq').execute();
    expect(rows.slice(-3)).toEqual([
      { action: 'changeDevice', subject: pseudonym },
      { action: 'eraseDevice', subject: pseudonym },
      { action: 'changeDevice', subject: '' },
    ]);
  });

  it('goes on after a crash at any moment, and counts nothing twice', async () => {
    await both();
    const whole = await plannedRows();
    let crashes = 0;
    for (; crashes < 200; crashes++) {
      let left = crashes + 1;
      // Dead from then on: whatever it tries fails, until a new process opens the files.
      moment = () => {
        if (--left <= 0) throw new Error('killed');
      };
      if (crashes === 0) await erasures.begin(GONE.id, 'key:a').catch(() => {});
      await erasures.resume().catch(() => {});
      await erasures.stop();
      await store.destroy();
      await open();
      const [row] = await store.selectFrom('erasures').selectAll().execute();
      expect(row).toBeDefined();
      expect((await verifyAudit(store)).broken).toBeUndefined();
      if (row!.state === 'done') break;
    }
    expect(crashes).toBeGreaterThan(5);
    const [view] = await erasures.list();
    expect(view).toMatchObject({ state: 'done', search: { found: 0 } });
    const sum = view!.removed.reduce((n, { rows }) => n + rows, 0);
    expect(sum).toBe(whole);
    expect(inFiles(GONE.name)).toEqual([]);
  });
});

/** Rows that name the device, and the two entries' words about it. */
const plannedRows = async (): Promise<number> =>
  (await erasures.plan(GONE.id)).kinds.reduce((n, { rows }) => n + rows, 0) + 1;
