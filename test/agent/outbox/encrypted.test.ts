/** Real files with encryption on: what lies on the disk, what a wrong byte or a wrong key does, and switching it on and off. */
import { randomBytes } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openBatch, readRecords } from '@skein/protocol/batch/sealed.ts';
import type { SkeinError } from '@skein/protocol/errors.ts';
import type { PredictionRecord } from '@skein/protocol/records.ts';
import Database from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { rowCipher } from '../../../agent/src/at-rest/node-row-cipher.ts';
import type { Outbox } from '../../../agent/src/outbox/port.ts';
import type { RowCipher } from '../../../agent/src/outbox/row-cipher.ts';
import { openSqliteOutbox } from '../../../agent/src/outbox/sqlite-outbox.ts';
import { readLedger } from '../../../agent/src/outbox/sqlite-outbox-ledger.ts';
import { expectClosed, prediction, predictions } from '../../contracts/outbox.contract.ts';
import { seeded, testSigner } from '../../protocol/batch/random.ts';

const signer = testSigner('device');
const MARKER = 'plaintext-marker';
const KEY = randomBytes(32);
const KEYED = rowCipher(KEY);
let dir: string;
let path: string;
let troubles: SkeinError[];
let outbox: Outbox | undefined;
let rewritten: number;

beforeEach(() => {
  dir = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'skein-encrypted-'));
  path = join(dir, 'outbox.db');
  troubles = [];
  rewritten = 0;
});
afterEach(() => {
  close();
  rmSync(dir, { recursive: true, force: true });
});

const random = seeded(7);
let now = 1_763_812_345_678;
const open = (cipher?: RowCipher): Outbox => {
  outbox = openSqliteOutbox({
    path,
    fleet: 'home',
    device: 'd-1',
    clock: { now: () => now++, mono: () => 0, after: () => ({ cancel() {} }) },
    entropy: { bytes: (n) => Uint8Array.from({ length: n }, () => random() * 256) },
    signer,
    reserveBytes: 0,
    ...(cipher ? { cipher } : {}),
    rewritten: () => void rewritten++,
    trouble: (error) => troubles.push(error),
  });
  return outbox;
};
const close = (): void => {
  outbox?.close();
  outbox = undefined;
};

const marked = (i: number): PredictionRecord => ({ ...prediction(i), label: `${MARKER}-${i}` });

/** 60 records in commits of 6: two batches sealed, one of them delivered, and chunks behind them. */
function fill(to: Outbox): void {
  for (let i = 0; i < 60; i += 6) {
    for (let k = i; k < i + 6; k++) to.append('predictions', marked(k));
    to.commit();
    if (i === 18 || i === 30) to.seal('predictions');
  }
  const [first] = to.pending('predictions', 1);
  to.delivered({ ...first!, head: first!.hash });
}

/** Labels of what would be sent, in order. */
function labelsToSend(from: Outbox): string[] {
  while (from.seal('predictions'));
  return from
    .pending('predictions', 1000)
    .flatMap((row) => (readRecords(openBatch(row.bytes)) as PredictionRecord[]).map(({ label }) => label));
}
const labels = (from: number, to: number) =>
  Array.from({ length: to - from }, (_, i) => `${MARKER}-${from + i}`);

/** Files of the folder that hold the marker: in one record alone it lies as it is, in many it is deflated. */
const inClear = (): string[] =>
  readdirSync(dir).filter((name) => readFileSync(join(dir, name)).includes(MARKER));

const rowsOf = (table: string, column: string): { seq: number; blob: Buffer }[] => {
  const database = new Database(path, { readonly: true });
  const key = table === 'chunks' ? 'seq' : 'from_seq';
  try {
    return database
      .prepare(
        `SELECT ${key} AS seq, ${column} AS blob FROM ${table} WHERE ${column} IS NOT NULL ORDER BY ${key}`,
      )
      .all() as { seq: number; blob: Buffer }[];
  } finally {
    database.close();
  }
};
const setBody = (seq: number, body: Uint8Array): void => {
  const database = new Database(path);
  database.prepare('UPDATE chunks SET body = ? WHERE seq = ?').run(body, seq);
  database.close();
};
/** Of every row that can be read. */
const everyRow = (): unknown[] =>
  ['chunks', 'batches'].flatMap((table): unknown[] => {
    try {
      return rowsOf(table, table === 'chunks' ? 'body' : 'bytes');
    } catch {
      return [table];
    }
  });

/** The page in which this stands first. */
function spoilPageOf(text: string): void {
  const bytes = readFileSync(path);
  const page = 1024 * Math.floor(bytes.indexOf(text) / 1024);
  bytes.fill(0xa5, page, page + 1024);
  writeFileSync(path, bytes);
}

describe('an encrypted outbox', () => {
  it('leaves nothing readable in database or log, where the same without encryption does', () => {
    for (const [cipher, readable] of [
      [undefined, true],
      [KEYED, false],
    ] as const) {
      const written = open(cipher);
      written.append('predictions', marked(1));
      written.commit();
      expect(inClear().length > 0, 'in the log of a running outbox').toBe(readable);
      written.append('predictions', marked(2));
      written.commit();
      close();
      expect(inClear().length > 0, 'after it was closed').toBe(readable);
      for (const name of readdirSync(dir)) rmSync(join(dir, name));
    }
  });

  it('gives everything back after a restart, and shows its ledger without the key', () => {
    fill(open(KEYED));
    close();
    expect(readLedger(path).find(({ stream }) => stream === 'predictions')).toMatchObject({
      ...{ accepted: 60, stored: 24, pending: 36 },
    });
    expect(labelsToSend(open(KEYED))).toEqual(labels(24, 60));
    expect(troubles).toEqual([]);
  });

  it('does not open a row that was put in the place of another, and names what it loses', () => {
    fill(open(KEYED));
    close();
    const rows = rowsOf('chunks', 'body');
    const [first, second] = [rows[0]!, rows[1]!];
    setBody(first.seq, second.blob);
    setBody(second.seq, first.blob);
    const { epoch } = readLedger(path)[0]!;
    const left = labelsToSend(open(KEYED));
    const ledger = predictions(outbox!);
    expect(ledger.epoch).not.toBe(epoch);
    expectClosed(ledger);
    expect(left).toEqual(labels(48, 60));
    expect(ledger.unknownRanges).toEqual([
      { epoch, from: 36, to: 47, reason: 'database-destroyed' },
      { epoch, from: 24, to: 35, reason: 'maybe-delivered' },
    ]);
    expect(troubles.map(({ code }) => code)).toEqual(['OUTBOX_CORRUPT']);
  });

  it('names a signed batch that was spoilt, and sends what lies behind it', () => {
    fill(open(KEYED));
    close();
    const batches = rowsOf('batches', 'bytes');
    const database = new Database(path);
    const spoilt = Buffer.from(batches[1]!.blob);
    spoilt[40]! ^= 1;
    database.prepare('UPDATE batches SET bytes = ? WHERE from_seq = ?').run(spoilt, batches[1]!.seq);
    database.close();
    expect(open(KEYED).pending('predictions', 9)).toEqual([]);
    expect(labelsToSend(outbox!)).toEqual(labels(36, 60));
    const ledger = predictions(outbox!);
    expectClosed(ledger);
    expect(ledger.unknownRanges).toMatchObject([{ from: 24, to: 35 }]);
  });

  it('takes a row in clear for damage: nobody of ours wrote it', () => {
    const filled = open(KEYED);
    filled.append('predictions', marked(0));
    filled.commit();
    close();
    setBody(0, Buffer.from(JSON.stringify(marked(0))));
    expect(labelsToSend(open(KEYED))).toEqual([]);
    expect(predictions(outbox!).unknown).toBe(1);
  });

  it('notices a wrong bit in any byte of a row', () => {
    const place = { table: 'chunks', stream: 'health', epoch: 'e', seq: 5 } as const;
    const plain = Buffer.from('{"a":1}\n{"a":2}');
    const stored = KEYED.encrypt(plain, place);
    expect(Buffer.from(KEYED.decrypt(stored, place))).toEqual(plain);
    for (let i = 1; i < stored.length; i++)
      for (let bit = 0; bit < 8; bit++) {
        const spoilt = Uint8Array.from(stored);
        spoilt[i]! ^= 1 << bit;
        expect(() => KEYED.decrypt(spoilt, place), `byte ${i}, bit ${bit}`).toThrow(
          expect.objectContaining({ code: 'OUTBOX_CORRUPT' }),
        );
      }
    for (let length = 1; length < stored.length; length++)
      expect(() => KEYED.decrypt(stored.subarray(0, length), place)).toThrow('not what was written');
    for (const other of [{ table: 'batches' }, { stream: 'drift' }, { epoch: 'f' }, { seq: 6 }] as const)
      expect(() => KEYED.decrypt(stored, { ...place, ...other })).toThrow('not what was written');
  });

  it('loses exactly the row whose bytes were spoilt, whichever byte it was', () => {
    const filled = open(KEYED);
    for (let i = 0; i < 3; i++) {
      filled.append('predictions', marked(i));
      filled.commit();
    }
    close();
    const [, middle] = rowsOf('chunks', 'body');
    copyFileSync(path, `${path}.good`);
    for (let i = 0; i < middle!.blob.length; i += 23) {
      for (const name of readdirSync(dir)) if (!name.endsWith('.good')) rmSync(join(dir, name));
      copyFileSync(`${path}.good`, path);
      const spoilt = Buffer.from(middle!.blob);
      spoilt[i]! ^= 0x10;
      setBody(1, spoilt);
      expect(labelsToSend(open(KEYED)), `byte ${i}`).toEqual([`${MARKER}-0`, `${MARKER}-2`]);
      const ledger = predictions(outbox!);
      expectClosed(ledger);
      expect(ledger.unknownRanges).toMatchObject([{ from: 1, to: 1 }]);
      close();
    }
  });

  it('is salvaged row by row when its pages are damaged, also when its own numbers are gone', () => {
    fill(open(KEYED));
    close();
    spoilPageOf('"epoch"');
    expect(labelsToSend(open(KEYED))).toEqual(labels(36, 60));
    const ledger = predictions(outbox!);
    expectClosed(ledger);
    expect(ledger).toMatchObject({ accepted: 60, unknown: 12 });
  });
});

describe('a key that is not the one', () => {
  const refused = (cipher: RowCipher | undefined, code: string) => {
    const before = everyRow();
    expect(() => {
      const opened = open(cipher);
      opened.seal('predictions');
    }).toThrow(expect.objectContaining({ code }));
    close();
    expect(everyRow()).toEqual(before);
    expect(readdirSync(dir).filter((name) => name.includes('corrupt'))).toEqual([]);
    expect(troubles).toEqual([]);
  };

  it('is refused and never taken for damage, and the right one finds everything', () => {
    fill(open(KEYED));
    close();
    refused(rowCipher(randomBytes(32)), 'DATA_KEY_WRONG');
    refused(rowCipher(randomBytes(32), false), 'DATA_KEY_WRONG');
    refused(undefined, 'DATA_KEY_NEEDED');
    expect(labelsToSend(open(KEYED))).toEqual(labels(24, 60));
  });

  it('is refused also where the database is damaged, before anything is moved', () => {
    fill(open(KEYED));
    close();
    spoilPageOf('"epoch"');
    refused(rowCipher(randomBytes(32)), 'DATA_KEY_WRONG');
    refused(undefined, 'DATA_KEY_NEEDED');
    expect(labelsToSend(open(KEYED))).toEqual(labels(36, 60));
  });
});

describe('encryption that is switched', () => {
  it('on encrypts what was there at the next start, and empties where it lay', () => {
    const filled = open();
    for (let i = 0; i < 40; i++) {
      filled.append('predictions', marked(i));
      filled.commit();
    }
    filled.seal('predictions');
    filled.append('predictions', marked(40));
    filled.commit();
    writeFileSync(`${path}.corrupt-1`, MARKER);
    expect(inClear()).not.toEqual([]);
    close();
    open(KEYED);
    expect(rewritten).toBe(1);
    expect(inClear()).toEqual([]);
    for (const { blob } of [...rowsOf('chunks', 'body'), ...rowsOf('batches', 'bytes')])
      expect(blob[0]).toBe(2);
    expect(labelsToSend(outbox!)).toEqual(labels(0, 41));
  });

  it('on empties the place of rows that are long gone', () => {
    const filled = open();
    filled.append('predictions', marked(0));
    filled.commit();
    close();
    const database = new Database(path);
    database.pragma('secure_delete = OFF');
    database.exec('DELETE FROM chunks');
    database.close();
    expect(inClear()).toEqual(['outbox.db']);
    open(KEYED);
    expect(inClear()).toEqual([]);
  });

  it('off brings everything back into clear, so that no key is needed after that', () => {
    fill(open(KEYED));
    close();
    open(rowCipher(KEY, false));
    expect(rewritten, 'said at each opening').toBe(2);
    for (const { blob } of [...rowsOf('chunks', 'body'), ...rowsOf('batches', 'bytes')])
      expect(blob[0]).not.toBe(2);
    close();
    expect(labelsToSend(open())).toEqual(labels(24, 60));
    expect(troubles).toEqual([]);
  });

  it('goes on where a kill left rows of both kinds', () => {
    fill(open());
    close();
    copyFileSync(path, `${path}.clear`);
    open(KEYED);
    const { epoch } = predictions(outbox!);
    close();
    copyFileSync(`${path}.clear`, path);
    const database = new Database(path);
    database.pragma(`application_id = ${0x534b_0002}`);
    const [first] = rowsOf('chunks', 'body');
    const hidden = KEYED.encrypt(first!.blob, {
      table: 'chunks',
      stream: 'predictions',
      epoch,
      seq: first!.seq,
    });
    database.prepare('UPDATE chunks SET body = ? WHERE seq = ?').run(hidden, first!.seq);
    database.close();
    expect(labelsToSend(open(KEYED))).toEqual(labels(24, 60));
    expect(inClear()).not.toContain('outbox.db');
    expect(troubles).toEqual([]);
  });
});
