/** A buffer as version 0.1 left it, by the SQL of then (format 1), goes on without a record lost or sent otherwise than before. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { deflateRawSync } from 'node:zlib';
import { type BatchHeader, NO_HEAD } from '@skein/protocol/batch/header.ts';
import { chainHead, openBatch, readRecords, sealBatch } from '@skein/protocol/batch/sealed.ts';
import { STREAMS } from '@skein/protocol/topics.ts';
import Database from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Outbox } from '../../../agent/src/outbox/port.ts';
import { openSqliteOutbox } from '../../../agent/src/outbox/sqlite-outbox.ts';
import { expectClosed, prediction, predictions } from '../../contracts/outbox.contract.ts';
import { seeded, testSigner } from '../../protocol/batch/random.ts';

const FORMAT_1 = `
CREATE TABLE IF NOT EXISTS streams (stream INTEGER PRIMARY KEY, state_json TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS chunks (stream INTEGER NOT NULL, seq INTEGER NOT NULL,
  n INTEGER NOT NULL, at INTEGER NOT NULL, size INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (stream, seq)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS batches (stream INTEGER NOT NULL, from_seq INTEGER NOT NULL,
  to_seq INTEGER NOT NULL, seq INTEGER NOT NULL, n INTEGER NOT NULL, size INTEGER NOT NULL, offered INTEGER NOT NULL,
  done_at INTEGER, bridge INTEGER NOT NULL, regained INTEGER NOT NULL, first_at INTEGER NOT NULL, prev BLOB NOT NULL,
  head BLOB NOT NULL, hash BLOB, doubt_json TEXT, bytes BLOB, PRIMARY KEY (stream, from_seq)) WITHOUT ROWID;
`;
const AT = 1_763_812_345_678;
const EPOCH = '00112233aabbccdd';
const signer = testSigner('device');
const id = STREAMS.indexOf('predictions');
const blob = (hex: string): Buffer => Buffer.from(hex, 'hex');
const numbers = (from: number, to: number) =>
  Array.from({ length: to - from }, (_, i) => prediction(from + i));

let dir: string;
let path: string;
let outbox: Outbox | undefined;
const random = seeded(17);

beforeEach(() => {
  dir = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'skein-migration-'));
  path = join(dir, 'outbox.db');
});
afterEach(() => {
  outbox?.close();
  outbox = undefined;
  rmSync(dir, { recursive: true, force: true });
});

function open(): Outbox {
  outbox?.close();
  outbox = openSqliteOutbox({
    ...{ path, fleet: 'home', device: 'd-1', signer, reserveBytes: 0 },
    clock: { now: () => AT, mono: () => 0, after: () => ({ cancel() {} }) },
    entropy: { bytes: (n) => Uint8Array.from({ length: n }, () => random() * 256) },
    trouble: (error) => expect.unreachable(error.message),
  });
  return outbox;
}

/** Of 20 records: 0–3 dropped at the cap, 4–9 sealed and offered, 10–17 in a chunk that is deflated, 18 and 19 as they are. */
function leaveFormat1(): Uint8Array {
  const database = new Database(path);
  database.pragma('page_size = 1024');
  database.pragma('journal_mode = WAL');
  database.exec(FORMAT_1);
  database.pragma('user_version = 1');
  const gaps = [{ from: 0, to: 3, reason: 'cap' }];
  const header: BatchHeader = {
    ...{ v: 1, fleet: 'home', device: 'd-1', stream: 'predictions', epoch: EPOCH, ordinal: 1_763_000_000 },
    ...{ seq: 4, n: 6, observed: 6, kept: 6, prev: NO_HEAD, gaps, bridge: null },
  };
  const bytes = sealBatch(header, numbers(4, 10), signer, 'columns');
  const head = chainHead(bytes);
  const state = {
    ...{ stream: 'predictions', epoch: EPOCH, ordinal: 1_763_000_000, nextSeq: 20, sealedNext: 10, head },
    ...{ deliveredNext: 0, deliveredHead: NO_HEAD, accepted: 20, stored: 0 },
    losses: [{ epoch: EPOCH, from: 0, to: 3, kind: 'dropped', reason: 'cap' }],
  };
  database.prepare('INSERT INTO streams VALUES (?, ?)').run(id, JSON.stringify(state));
  database
    .prepare('INSERT INTO batches VALUES (?, 0, 9, 4, 6, ?, 1, NULL, 0, 0, ?, ?, ?, ?, NULL, ?)')
    .run(id, bytes.length, AT, blob(NO_HEAD), blob(head), blob(head), bytes);
  const text = (from: number, to: number) =>
    Buffer.from(
      numbers(from, to)
        .map((each) => JSON.stringify(each))
        .join('\n'),
    );
  const insertChunk = database.prepare('INSERT INTO chunks VALUES (?, ?, ?, ?, ?, ?)');
  const packed = Buffer.concat([Buffer.of(0), deflateRawSync(text(10, 18))]);
  insertChunk.run(id, 10, 8, AT, packed.length, packed);
  insertChunk.run(id, 18, 2, AT, text(18, 20).length, text(18, 20));
  database.close();
  return bytes;
}

describe('a buffer of format 1', () => {
  it('keeps its numbers, its losses and the very bytes that were sealed', () => {
    const bytes = leaveFormat1();
    for (const time of ['migrated', 'opened again']) {
      const ledger = predictions(open());
      expectClosed(ledger, time);
      expect(ledger, time).toMatchObject({
        epoch: EPOCH,
        accepted: 20,
        observed: 20,
        dropped: 4,
        pending: 16,
      });
      expect(ledger.droppedRanges, time).toEqual([{ epoch: EPOCH, from: 0, to: 3, reason: 'cap' }]);
      const [row] = outbox!.pending('predictions', 9);
      expect(Buffer.from(row!.bytes).equals(bytes), time).toBe(true);
    }
  });

  it('goes on where it was: what was committed then is sealed behind it now', () => {
    const before = chainHead(leaveFormat1());
    const upgraded = open();
    upgraded.append('predictions', prediction(20));
    upgraded.commit();
    const row = upgraded.seal('predictions')!;
    const batch = openBatch(row.bytes);
    expect(batch.header).toMatchObject({ seq: 10, n: 11, prev: before, epoch: EPOCH, gaps: [] });
    expect(readRecords(batch)).toEqual(numbers(10, 21));
    for (const { epoch, upTo, hash: head } of upgraded.pending('predictions', 9))
      expect(upgraded.delivered({ stream: 'predictions', epoch, upTo, head })).toBe(true);
    expect(predictions(upgraded)).toMatchObject({ stored: 17, dropped: 4, pending: 0 });
  });

  it('is whole after an upgrade that ended half way', () => {
    leaveFormat1();
    const database = new Database(path);
    // As a kill leaves it: the columns were added in a transaction that was never committed.
    database.exec('BEGIN IMMEDIATE; ALTER TABLE chunks ADD COLUMN left_out INTEGER NOT NULL DEFAULT 0');
    database.close();
    expect(predictions(open())).toMatchObject({ accepted: 20, pending: 16, dropped: 4 });
  });

  it('learns to give space back', () => {
    leaveFormat1();
    open().close();
    outbox = undefined;
    const database = new Database(path, { readonly: true });
    expect(database.pragma('user_version', { simple: true })).toBe(2);
    expect(database.pragma('auto_vacuum', { simple: true }), 'incremental').toBe(2);
    expect(database.pragma('integrity_check', { simple: true })).toBe('ok');
    database.close();
  });
});
