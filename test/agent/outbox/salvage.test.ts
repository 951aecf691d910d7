/** Real files, damaged page by page: what was read goes on, what was not is named, and nothing is counted twice. */
import { readFileSync, rmSync, statSync } from 'node:fs';
import { openBatch, readRecords } from '@skein/protocol/batch/sealed.ts';
import type { PredictionRecord } from '@skein/protocol/records.ts';
import Database from 'better-sqlite3';
import { describe, expect, it } from 'vitest';
import type { Outbox } from '../../../agent/src/outbox/port.ts';
import { readLedger } from '../../../agent/src/outbox/sqlite-outbox-ledger.ts';
import { expectClosed, prediction, predictions } from '../../contracts/outbox.contract.ts';
import { below, type Random, seeded } from '../../protocol/batch/random.ts';
import { OutboxFolder, PAGE } from './outbox-folder.ts';

const files = new OutboxFolder(5);

/** Of 400 records: 40 delivered, then offered and unoffered batches, then unsealed ones. Closed cleanly. */
function fillAndClose(): string {
  const filled = files.open();
  for (let i = 0; i < 400; i += 4) {
    for (let k = i; k < i + 4; k++) filled.append('predictions', prediction(k));
    filled.commit();
    if (i % 20 === 16 && i < 300) filled.seal('predictions');
  }
  const [first, second] = filled.pending('predictions', 2);
  filled.delivered({ ...first!, head: first!.hash });
  filled.delivered({ ...second!, head: second!.hash });
  const { epoch } = predictions(filled);
  files.close();
  return epoch;
}

function spoilPages(dice: Random, count: number): void {
  const pages = statSync(files.path).size / PAGE;
  for (let i = 0; i < count; i++) files.spoil(2 + below(dice, pages - 1), 1, below(dice, 256));
}

/** What the next epoch would send. */
function labelsToSend(from: Outbox): string[] {
  while (from.seal('predictions'));
  const rows = from.pending('predictions', 1000);
  return rows.flatMap((row) => (readRecords(openBatch(row.bytes)) as PredictionRecord[]).map((r) => r.label));
}

describe('a database with damaged pages', () => {
  it('goes on with every record that could be read and names the others, whatever page it was', () => {
    let carried = 0;
    for (let seed = 1; seed <= 12; seed++) {
      const { path } = files;
      for (const file of [path, `${path}.mark`, `${path}.seen`]) rmSync(file, { force: true });
      const epoch = fillAndClose();
      spoilPages(seeded(seed), 1 + (seed % 4));
      const opened = files.open();
      const ledger = predictions(opened);
      const hint = `seed ${seed}`;
      expectClosed(ledger, hint);
      expect(ledger, hint).toMatchObject({ accepted: 400, dropped: 0 });
      const healed = ledger.epoch !== epoch;
      const labels = labelsToSend(opened);
      expect(new Set(labels).size, hint).toBe(labels.length);
      expect(labels.length, hint).toBe(ledger.pending);
      const gone = ledger.unknownRanges.flatMap(({ from, to }) =>
        Array.from({ length: to - from + 1 }, (_, i) => `record-${from + i}`),
      );
      const known = [...labels, ...gone, ...Array.from({ length: 40 }, (_, i) => `record-${i}`)];
      if (ledger.stored === 40) expect(new Set(known).size, `${hint}: each is told of once`).toBe(400);
      if (healed) carried += labels.length;
      files.close();
    }
    expect(carried, 'most of it is read').toBeGreaterThan(1000);
  });

  it('is healed while it runs, and the commit that found it is not lost', () => {
    fillAndClose();
    const running = files.open();
    const { epoch } = predictions(running);
    files.spoil(2, statSync(files.path).size / PAGE - 1);
    // Another writer makes it read its pages again.
    const other = new Database(files.path);
    other.pragma('user_version = 2');
    other.close();
    for (let k = 400; k < 410; k++) running.append('predictions', prediction(k));
    running.commit();
    while (running.seal('predictions'));
    running.pending('predictions', 1000);
    const ledger = predictions(running);
    expectClosed(ledger);
    expect(ledger.accepted).toBe(410);
    expect(ledger.epoch).not.toBe(epoch);
    expect(files.troubles.map(({ code }) => code)).toContain('OUTBOX_CORRUPT');
  });

  it('never carries over what a server may have: it is unknown, and said to be maybe delivered', () => {
    const epoch = fillAndClose();
    files.spoil(
      files.pageOf("SELECT max(pageno) FROM dbstat WHERE name = 'batches' AND pagetype = 'leaf'"),
      1,
      0xff,
    );
    const opened = files.open();
    const ledger = predictions(opened);
    expect(ledger.epoch).not.toBe(epoch);
    const doubt = ledger.unknownRanges.filter(({ reason }) => reason === 'maybe-delivered');
    const labels = new Set(labelsToSend(opened));
    for (const { from, to } of doubt)
      for (let seq = from; seq <= to; seq++) expect(labels.has(`record-${seq}`)).toBe(false);
    expect(doubt.length).toBeGreaterThan(0);
  });

  it('shows its ledger to who only reads', () => {
    fillAndClose();
    const { path } = files;
    const before = readFileSync(path);
    const [ledger] = readLedger(path);
    expectClosed(ledger!);
    expect(ledger).toMatchObject({ stream: 'predictions', accepted: 400, stored: 40, pending: 360 });
    expect(readFileSync(path)).toEqual(before);
    expect(() => readLedger(`${path}.none`)).toThrowError(expect.objectContaining({ code: 'NOT_FOUND' }));
  });
});
