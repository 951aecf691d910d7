/** A buffer too large to be looked through before it is used: it is used at once, and looked through beside everything else. */
import { execFileSync } from 'node:child_process';
import { rmSync, statSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { checkFile } from '../../../agent/src/outbox/worker-check.ts';
import { expectClosed, prediction, predictions } from '../../contracts/outbox.contract.ts';
import { OutboxFolder, PAGE } from './outbox-folder.ts';

const files = new OutboxFolder(7);
const open = (alone = false, checkedUpTo = 0) => files.open({ alone, checkedUpTo });

const RECORDS = 400;
function fillAndClose(): string {
  const filled = open();
  for (let i = 0; i < RECORDS; i += 4) {
    for (let k = i; k < i + 4; k++) filled.append('predictions', prediction(k));
    filled.commit();
  }
  const { epoch } = predictions(filled);
  files.close();
  return epoch;
}

/** Pages in the middle, where nothing looks that opens the file. */
const spoil = () => files.spoil(Math.floor(statSync(files.path).size / PAGE / 2) + 1, 2);

/** By a process of its own: locks do not hold within one. */
const isReadable = (): boolean => {
  const program = `import Database from 'better-sqlite3';
    try { new Database(process.argv[1], { readonly: true, timeout: 0 }).prepare('SELECT count(*) FROM chunks').get(); console.log('yes') }
    catch (error) { console.log(error.code) }`;
  const said = execFileSync(process.execPath, ['--input-type=module', '-e', program, files.path], {
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
    expect(files.troubles).toEqual([]);
    await used.examine();
    expect(files.troubles.map(({ code }) => code)).toEqual(['OUTBOX_CORRUPT']);
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
    expect(files.troubles.map(({ code }) => code)).toEqual(['OUTBOX_CORRUPT']);
  });

  it('is looked through at once when what is needed to use it is damaged', () => {
    const epoch = fillAndClose();
    files.spoil(files.pageOf("SELECT rootpage FROM sqlite_master WHERE name = 'streams'"));
    const ledger = predictions(open());
    expectClosed(ledger);
    expect(ledger.epoch).not.toBe(epoch);
    expect(files.troubles.map(({ code }) => code)).toEqual(['OUTBOX_CORRUPT']);
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
    expect(files.troubles).toEqual([]);
    files.close();
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
    expect(files.troubles).toEqual([]);
  });

  it('is closed while it is looked through', async () => {
    const epoch = fillAndClose();
    const used = open();
    const looked = used.examine();
    files.close();
    await expect(looked).rejects.toThrow(/ended/);
    expect(predictions(open())).toMatchObject({ epoch, pending: RECORDS });
  });
});

describe('a look through a file', () => {
  it('says what is wrong also where SQLite will not even read it', async () => {
    fillAndClose();
    writeFileSync(files.path, 'not a database at all, and long enough for SQLite to see it'.repeat(100));
    expect(await checkFile(files.path).verdict).toMatch(/not a database/);
  });

  it('rejects when there is none', async () => {
    fillAndClose();
    rmSync(files.path);
    await expect(checkFile(files.path).verdict).rejects.toThrow(/unable to open/);
  });
});
