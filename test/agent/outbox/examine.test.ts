/** A buffer too large to be looked through before it is used: it is used at once, and looked through beside everything else. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { SkeinError } from '@skein/protocol/errors.ts';
import Database from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Outbox } from '../../../agent/src/outbox/port.ts';
import { openSqliteOutbox } from '../../../agent/src/outbox/sqlite-outbox.ts';
import { expectClosed, prediction, predictions } from '../../contracts/outbox.contract.ts';
import { seeded, testSigner } from '../../protocol/batch/random.ts';

const signer = testSigner('device');
const PAGE = 1024;
let dir: string;
let path: string;
let troubles: SkeinError[];
let outbox: Outbox | undefined;

beforeEach(() => {
  dir = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'skein-examine-'));
  path = join(dir, 'outbox.db');
  troubles = [];
});
afterEach(() => {
  outbox?.close();
  outbox = undefined;
  rmSync(dir, { recursive: true, force: true });
});

const random = seeded(7);
const open = (alone = false, checkedUpTo = 0): Outbox => {
  outbox = openSqliteOutbox({
    ...{ path, fleet: 'home', device: 'd-1', signer, reserveBytes: 0, alone, checkedUpTo },
    clock: { now: () => 1_763_812_345_678, mono: () => 0, after: () => ({ cancel() {} }) },
    entropy: { bytes: (n) => Uint8Array.from({ length: n }, () => random() * 256) },
    trouble: (error) => troubles.push(error),
  });
  return outbox;
};

const RECORDS = 400;
function fillAndClose(): string {
  const filled = open();
  for (let i = 0; i < RECORDS; i += 4) {
    for (let k = i; k < i + 4; k++) filled.append('predictions', prediction(k));
    filled.commit();
  }
  const { epoch } = predictions(filled);
  filled.close();
  return epoch;
}

/** Pages in the middle, where nothing looks that opens the file. */
function spoil(): void {
  const bytes = readFileSync(path);
  const middle = PAGE * Math.floor(bytes.length / PAGE / 2);
  bytes.fill(0xa5, middle, middle + 2 * PAGE);
  writeFileSync(path, bytes);
}

/** By a process of its own: locks do not hold within one. */
const isReadable = (): boolean => {
  const program = `import Database from 'better-sqlite3';
    try { new Database(process.argv[1], { readonly: true, timeout: 0 }).prepare('SELECT count(*) FROM chunks').get(); console.log('yes') }
    catch (error) { console.log(error.code) }`;
  const said = execFileSync(process.execPath, ['--input-type=module', '-e', program, path], {
    encoding: 'utf8',
    cwd: import.meta.dirname,
  });
  return said === 'yes\n';
};

describe('a buffer that is too large to be looked through at the start', () => {
  it('is used at once, and its damage found and repaired by a look through it', async () => {
    const epoch = fillAndClose();
    spoil();
    const used = open();
    expect(used.mark('predictions')).toMatchObject({ epoch });
    expect(troubles).toEqual([]);
    await used.examine();
    expect(troubles.map(({ code }) => code)).toEqual(['OUTBOX_CORRUPT']);
    const healed = predictions(used);
    expectClosed(healed);
    expect(healed).toMatchObject({ accepted: RECORDS });
    expect(healed.epoch).not.toBe(epoch);
    expect(healed.pending).toBeGreaterThan(RECORDS / 2);
  });

  it('is looked through before it is used when it is small', () => {
    const epoch = fillAndClose();
    spoil();
    expect(predictions(open(false, 2 ** 20)).epoch).not.toBe(epoch);
    expect(troubles.map(({ code }) => code)).toEqual(['OUTBOX_CORRUPT']);
  });

  it('is looked through at once when what is needed to use it is damaged', () => {
    const epoch = fillAndClose();
    const database = new Database(path);
    const root = database.prepare("SELECT rootpage FROM sqlite_master WHERE name = 'streams'").pluck();
    const page = root.get() as number;
    database.close();
    const bytes = readFileSync(path);
    bytes.fill(0xa5, (page - 1) * PAGE, page * PAGE);
    writeFileSync(path, bytes);
    const ledger = predictions(open());
    expectClosed(ledger);
    expect(ledger.epoch).not.toBe(epoch);
    expect(troubles.map(({ code }) => code)).toEqual(['OUTBOX_CORRUPT']);
  });

  it.each([false, true])('goes on as it was when nothing is wrong (alone: %s)', async (alone) => {
    const epoch = fillAndClose();
    const used = open(alone);
    used.append('predictions', prediction(RECORDS));
    expect(used.commit()).toBe(1);
    expect(isReadable(), 'another connection has to get in').toBe(true);
    await used.examine();
    expect(isReadable()).toBe(!alone);
    expect(predictions(used)).toMatchObject({ epoch, accepted: RECORDS + 1, pending: RECORDS + 1 });
    used.append('predictions', prediction(RECORDS + 1));
    expect(used.commit()).toBe(1);
    expect(troubles).toEqual([]);
    used.close();
    expect(predictions(open())).toMatchObject({ epoch, accepted: RECORDS + 2, pending: RECORDS + 2 });
  });

  it('takes records while it is looked through', async () => {
    fillAndClose();
    const used = open(true);
    const looked = used.examine();
    for (let k = RECORDS; k < RECORDS + 50; k++) {
      used.append('predictions', prediction(k));
      used.commit();
      used.seal('predictions');
    }
    await looked;
    const ledger = predictions(used);
    expectClosed(ledger);
    expect(ledger).toMatchObject({ accepted: RECORDS + 50, pending: RECORDS + 50 });
    expect(troubles).toEqual([]);
  });

  it('is closed while it is looked through', async () => {
    const epoch = fillAndClose();
    const used = open();
    const looked = used.examine();
    used.close();
    await expect(looked).rejects.toThrow(/ended/);
    expect(predictions(open())).toMatchObject({ epoch, pending: RECORDS });
  });
});
