/** Damage to what a device has stored about trust: whatever is torn, no older version passes and refreshing goes on. */
import {
  copyFileSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { nodeKeys } from '@skein/agent/node-keys.ts';
import { SqliteTrustStore } from '@skein/agent/update/sqlite-trust.ts';
import { TrustClient } from '@skein/agent/update/trust-client.ts';
import type { TrustState } from '@skein/agent/update/trust-state.ts';
import { SkeinError } from '@skein/protocol/errors.ts';
import Database from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DEVICE, orderOf, SimulatedRepositories, START } from '../../protocol/trust/simulated-repository.ts';

let folder: string;
let path: string;
let repo: SimulatedRepositories;
let old: { image: Record<string, Uint8Array>; director: Record<string, Uint8Array> };
const open: SqliteTrustStore[] = [];

function start(): { store: SqliteTrustStore; client: TrustClient } {
  const store = new SqliteTrustStore(path);
  open.push(store);
  const clock = { now: () => START, mono: () => 0, after: () => ({ cancel() {} }) };
  return {
    store,
    client: new TrustClient({
      fetcher: repo,
      store,
      clock,
      keys: nodeKeys,
      device: DEVICE,
      hardwareTags: [],
    }),
  };
}
const stop = () => open.splice(0).map((store) => store.close());

/** Rolls both repositories back to their first version, checks that it is refused, and that the present one passes. */
async function expectNoRollback(): Promise<void> {
  const present = { image: repo.image.files, director: repo.director.files };
  repo.image.files = { ...old.image };
  repo.director.files = { ...old.director };
  await expect(start().client.refresh()).rejects.toMatchObject({ code: 'METADATA_ROLLBACK' });
  stop();
  repo.image.files = { ...old.image };
  repo.director.files = present.director;
  await expect(start().client.refresh()).rejects.toMatchObject({ code: 'METADATA_ROLLBACK' });
  stop();
  repo.image.files = present.image;
  repo.director.files = { ...old.director };
  await expect(start().client.refresh()).rejects.toMatchObject({ code: 'METADATA_ROLLBACK' });
  stop();
  repo.director.files = present.director;
  expect((await start().client.refresh()).orders).toHaveLength(1);
  expect(start().client.view()?.orders).toHaveLength(1);
}

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'skein-trust-'));
  path = join(folder, 'trust.db');
  repo = new SimulatedRepositories();
  repo.addModel('gas', '1.0.0', 1, { floor: 1 });
  repo.orders = [orderOf('gas', '1.0.0')];
  repo.publish();
  // Roots grow too, so that a torn root has a chain to walk again; the rotation resets floors once.
  repo.image.rotate('timestamp');
  repo.director.rotate('targets');
  repo.publish();
  old = { image: { ...repo.image.files }, director: { ...repo.director.files } };
  const { store, client } = start();
  store.pin(repo.image.files['1.root.json']!, repo.director.files['1.root.json']!);
  await client.refresh();
  repo.publish();
  await client.refresh();
  stop();
});
afterEach(() => {
  stop();
  rmSync(folder, { recursive: true });
});

/** Rewrites the stored state behind the store's back, with a correct checksum. */
function edit(change: (state: TrustState) => TrustState): void {
  const { store } = start();
  store.commit(change(store.load()!));
  stop();
}

const tornBytes = (bytes: Uint8Array) => ({
  empty: new Uint8Array(),
  half: bytes.slice(0, bytes.length >> 1),
  zeroed: new Uint8Array(bytes.length),
});

describe('what was judged', () => {
  /** Behind the store's back. */
  function sql(statement: string): void {
    const database = new Database(path);
    database.exec(statement);
    database.close();
  }

  function inBothCopies(from: string, to: string): void {
    const guard = join(folder, 'trust.guard');
    writeFileSync(guard, readFileSync(guard, 'utf8').replace(from, to));
    sql(`UPDATE guarded SET text = replace(text, '${from}', '${to}')`);
  }

  it.each([
    ['one letter of it', () => sql("UPDATE judged SET text = replace(text, 'barred', 'bArred')")],
    ['the state it came with', () => sql("UPDATE guarded SET text = replace(text, 'sequence', 'sequencE')")],
    ['the second copy of the state', () => writeFileSync(join(folder, 'trust.guard'), '{}')],
    ['the state it came with, in both copies,', () => inBothCopies('"sequence":', '"sequence": ')],
    ['all of it', () => sql('DROP TABLE judged')],
  ])('does not count once %s is damaged', (_, damage) => {
    expect(start().store.judged()).toEqual({ installed: [], barred: [], releaseFloors: { gas: 1 } });
    stop();
    damage();
    expect(start().store.judged()).toBeUndefined();
    expect(start().client.spokenAgainst()).toEqual({ barred: [], releaseFloors: { gas: 1 } });
  });

  it('stays while refreshes find nobody, and these write nothing', async () => {
    repo.intercept = () => {
      throw new SkeinError('UNREACHABLE', 'offline');
    };
    const [before, guard] = [readFileSync(path), readFileSync(join(folder, 'trust.guard'))];
    const { client, store } = start();
    await expect(client.refresh()).rejects.toMatchObject({ code: 'UNREACHABLE' });
    expect(readFileSync(path).equals(before)).toBe(true);
    expect(readFileSync(join(folder, 'trust.guard')).equals(guard)).toBe(true);
    expect(store.judged()).toBeDefined();
  });
});

describe('a torn document', () => {
  it.each(['timestamp', 'snapshot', 'targets'])('%s lets no rollback through', async (role) => {
    const { store } = start();
    const shapes = tornBytes(store.load()!.documents.image[role]!);
    stop();
    for (const torn of Object.values(shapes)) {
      edit((state) => ({
        ...state,
        documents: { ...state.documents, image: { ...state.documents.image, [role]: torn } },
      }));
      await expectNoRollback();
    }
  });

  it('timestamp replaced by an older, properly signed one lets no rollback through', async () => {
    const timestamp = old.image['timestamp.json']!;
    edit((state) => ({
      ...state,
      documents: { ...state.documents, image: { ...state.documents.image, timestamp } },
    }));
    await expectNoRollback();
  });

  it('of the director lets no rollback through', async () => {
    edit((state) => ({ ...state, documents: { image: state.documents.image, director: new Uint8Array(9) } }));
    await expectNoRollback();
    edit((state) => ({ ...state, documents: { image: state.documents.image } }));
    await expectNoRollback();
  });

  it.each(['image', 'director'] as const)('%s root: the chain is walked again from the pin', async (side) => {
    edit((state) => ({ ...state, [side]: { ...state[side], root: new Uint8Array(100) } }));
    await expectNoRollback();
  });

  it('a root that is withheld afterwards is a rollback, not a fresh start', async () => {
    edit((state) => ({ ...state, image: { ...state.image, root: new Uint8Array(100) } }));
    delete repo.image.files['2.root.json'];
    await expect(start().client.refresh()).rejects.toMatchObject({ code: 'METADATA_ROLLBACK' });
  });
});

describe('a damaged trust.db', () => {
  it('truncated at any length is made anew from its guard', async () => {
    const size = readFileSync(path).length;
    for (const length of [0, 1, 100, 4096, size >> 1, size - 1]) {
      const whole = readFileSync(path);
      truncateSync(path, Math.min(length, whole.length));
      await expectNoRollback();
    }
    expect(existsSync(`${path}.damaged`)).toBe(true);
  });

  it('with any one page overwritten lets no rollback through', async () => {
    const whole = readFileSync(path);
    for (let page = 0; page < whole.length; page += 4096) {
      const torn = Buffer.from(readFileSync(path));
      torn.fill(0xa5, Math.min(page, torn.length), Math.min(page + 4096, torn.length));
      writeFileSync(path, torn);
      await expectNoRollback();
    }
  });

  it('deleted, or swapped for an older copy of itself, lets no rollback through', async () => {
    const older = join(folder, 'older.db');
    copyFileSync(path, older);
    repo.publish();
    await start().client.refresh();
    stop();
    copyFileSync(older, path);
    await expectNoRollback();
    rmSync(path);
    await expectNoRollback();
  });

  it('is not what a database is that another process has locked', async () => {
    const other = new Database(path);
    other.exec('BEGIN EXCLUSIVE');
    expect(() => start()).toThrow(expect.objectContaining({ code: 'DISK_FAILED' }));
    other.exec('COMMIT');
    other.close();
    expect(existsSync(`${path}.damaged`)).toBe(false);
    await expectNoRollback();
  });

  it('with floors lowered by hand is not believed: the checksum no longer fits', async () => {
    const database = new Database(path);
    const text = database.prepare('SELECT text FROM guarded').pluck().get() as string;
    database
      .prepare('UPDATE guarded SET text = ?')
      .run(text.replaceAll(/\\"timestamp\\":\d+/g, '\\"timestamp\\":0'));
    database.close();
    await expectNoRollback();
  });
});

describe('a damaged guard', () => {
  it.each([
    ['empty', ''],
    ['cut', '{'],
    ['overwritten', 'x'.repeat(4096)],
  ])('%s is replaced by the next commit', async (_, text) => {
    writeFileSync(join(folder, 'trust.guard'), text);
    await expectNoRollback();
    expect(readFileSync(join(folder, 'trust.guard'), 'utf8')).toContain('"sum"');
  });

  it('and a damaged database together leave the device without roots, and it says so', async () => {
    truncateSync(path, 10);
    writeFileSync(join(folder, 'trust.guard'), '{');
    await expect(start().client.refresh()).rejects.toMatchObject({ code: 'NOT_ENROLLED' });
  });
});
