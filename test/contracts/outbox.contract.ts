/** The behaviour every {@link Outbox} has, whatever stores it: run by one test file per adapter. */

import { NO_HEAD } from '@skein/protocol/batch/header.ts';
import { openBatch, readRecords, verifyBatch } from '@skein/protocol/batch/sealed.ts';
import type { PredictionRecord } from '@skein/protocol/records.ts';
import type { Bytes, Millis } from '@skein/protocol/units.ts';
import { describe, expect, it } from 'vitest';
import type { Outbox, SealedRow, StreamLedger } from '../../agent/src/outbox/port.ts';
import { testSigner, testVerify } from '../protocol/batch/random.ts';

export interface OutboxSetup {
  capBytes?: Bytes;
  keepMs?: Millis;
}

export interface OutboxHarness {
  /** Opens the outbox of this test; a second call reopens what the first one stored. */
  open(setup?: OutboxSetup): Outbox;
  /** Ends the process that held it, so that nothing in memory survives. */
  crash(): void;
  advance(ms: Millis): void;
  dispose(): void;
}

export const DEVICE_SIGNER = testSigner('outbox device');

export const prediction = (i: number): PredictionRecord => ({
  ts: 1_763_812_345_678 + i,
  mono: i,
  boot: 'boot',
  source: 'test',
  model: 'm',
  version: '1.0.0',
  label: `record-${i}`,
  score: i / 7,
  alarm: 0,
  latency_us: i,
});

export const predictions = (outbox: Outbox): StreamLedger =>
  outbox.ledger().find((entry) => entry.stream === 'predictions')!;

export function expectClosed(ledger: StreamLedger, hint = ''): void {
  const { stored, pending, dropped, lostAtServer, unknown, accepted } = ledger;
  expect(stored + pending + dropped + lostAtServer + unknown, `${hint} ${JSON.stringify(ledger)}`).toBe(
    accepted,
  );
}

export function describeOutbox(name: string, make: () => OutboxHarness): void {
  describe(`${name} as an outbox`, () => {
    const using = (task: (harness: OutboxHarness) => void) => () => {
      const harness = make();
      try {
        task(harness);
      } finally {
        harness.dispose();
      }
    };
    const fill = (outbox: Outbox, from: number, to: number): void => {
      for (let i = from; i < to; i++) outbox.append('predictions', prediction(i));
      outbox.commit();
    };
    const sealed = (outbox: Outbox, from: number, to: number): SealedRow => {
      fill(outbox, from, to);
      return outbox.seal('predictions')!;
    };
    const ack = (row: SealedRow) => ({
      stream: row.stream,
      epoch: row.epoch,
      upTo: row.upTo,
      head: row.hash,
    });

    it(
      'accepts on commit and on nothing less',
      using((harness) => {
        const outbox = harness.open();
        fill(outbox, 0, 3);
        outbox.append('predictions', prediction(3));
        expect(predictions(outbox).accepted).toBe(3);
        harness.crash();
        expect(predictions(harness.open())).toMatchObject({ accepted: 3, pending: 3, stored: 0 });
      }),
    );

    it(
      'seals what was committed into a signed batch with its records in order',
      using((harness) => {
        const row = sealed(harness.open(), 0, 5);
        const batch = openBatch(row.bytes);
        verifyBatch(batch, testVerify, DEVICE_SIGNER.publicKey);
        expect(batch.header).toMatchObject({ stream: 'predictions', seq: 0, n: 5, prev: NO_HEAD, gaps: [] });
        expect(readRecords(batch)).toEqual([0, 1, 2, 3, 4].map(prediction));
      }),
    );

    it(
      'sends the same bytes at every retry, after a crash too',
      using((harness) => {
        const outbox = harness.open();
        const row = sealed(outbox, 0, 2);
        expect(outbox.pending('predictions', 9)).toEqual([row]);
        harness.crash();
        const again = harness.open();
        expect(again.pending('predictions', 9)).toEqual([row]);
        expect(again.pending('predictions', 9)).toEqual([row]);
      }),
    );

    it(
      'chains each batch to the one before, across a crash',
      using((harness) => {
        const outbox = harness.open();
        const first = sealed(outbox, 0, 2);
        expect(outbox.pending('predictions', 9), 'durable once it is given out').toHaveLength(1);
        harness.crash();
        const second = sealed(harness.open(), 2, 4);
        expect(openBatch(second.bytes).header).toMatchObject({
          seq: 2,
          prev: first.hash,
          epoch: first.epoch,
        });
      }),
    );

    it(
      'counts a batch as delivered only when the head is its own',
      using((harness) => {
        const outbox = harness.open();
        const first = sealed(outbox, 0, 2);
        const second = sealed(outbox, 2, 5);
        expect(outbox.delivered({ ...ack(first), head: NO_HEAD })).toBe(false);
        expect(outbox.delivered({ ...ack(first), epoch: '0'.repeat(16) })).toBe(false);
        expect(outbox.delivered({ ...ack(second), upTo: 99 })).toBe(false);
        expect(outbox.delivered({ ...ack(second), upTo: 3 })).toBe(false);
        expect(predictions(outbox)).toMatchObject({ stored: 0, pending: 5 });
        expect(outbox.delivered(ack(second))).toBe(true);
        expect(outbox.delivered(ack(second))).toBe(false);
        expect(predictions(outbox)).toMatchObject({ stored: 5, pending: 0, accepted: 5 });
        expect(outbox.pending('predictions', 9)).toEqual([]);
      }),
    );

    it(
      'sends kept batches again to a server that lost them',
      using((harness) => {
        const outbox = harness.open();
        const rows = [sealed(outbox, 0, 2), sealed(outbox, 2, 4), sealed(outbox, 4, 6)];
        outbox.delivered(ack(rows[2]!));
        expect(outbox.rewind(ack(rows[0]!))).toBe(true);
        expect(outbox.pending('predictions', 9)).toEqual(rows.slice(1));
        expect(predictions(outbox)).toMatchObject({ stored: 2, pending: 4, accepted: 6 });
      }),
    );

    it(
      'names what a restored server lost and nobody keeps, and bridges it',
      using((harness) => {
        const outbox = harness.open({ keepMs: 1000 });
        const rows = [sealed(outbox, 0, 2), sealed(outbox, 2, 4)];
        outbox.delivered(ack(rows[1]!));
        harness.advance(5000);
        const third = sealed(outbox, 4, 6);
        outbox.delivered(ack(third));
        const nothing = { stream: 'predictions', epoch: third.epoch, upTo: -1, head: NO_HEAD } as const;
        expect(outbox.rewind(nothing)).toBe(true);
        const [bridge, kept] = outbox.pending('predictions', 9);
        expect(openBatch(bridge!.bytes)).toMatchObject({
          head: rows[1]!.hash,
          header: { seq: 0, n: 0, gaps: [{ from: 0, to: 3, reason: 'lost-at-server' }] },
        });
        expect(kept).toEqual(third);
        expect(predictions(outbox)).toMatchObject({ stored: 0, pending: 2, lostAtServer: 4, accepted: 6 });
        outbox.settle('predictions', bridge!.hash, true);
        expect(predictions(outbox)).toMatchObject({ stored: 4, pending: 2, lostAtServer: 0, lostRanges: [] });
      }),
    );

    it(
      'does not go back to a watermark that is not on its chain',
      using((harness) => {
        const outbox = harness.open();
        const row = sealed(outbox, 0, 4);
        outbox.delivered(ack(row));
        expect(outbox.rewind({ ...ack(row), upTo: 1 })).toBe(false);
        expect(outbox.rewind({ ...ack(row), upTo: 9 })).toBe(false);
        expect(predictions(outbox)).toMatchObject({ stored: 4, pending: 0 });
      }),
    );

    it(
      'drops the oldest at its cap, in exact ranges, and tells the server in a bridge',
      using((harness) => {
        const outbox = harness.open({ capBytes: 20_000 });
        const rows: SealedRow[] = [];
        for (let i = 0; i < 30; i++) rows.push(sealed(outbox, i * 4, i * 4 + 4));
        const ledger = predictions(outbox);
        expectClosed(ledger);
        expect(ledger.dropped).toBeGreaterThan(0);
        expect(ledger.droppedRanges).toEqual([
          { epoch: ledger.epoch, from: 0, to: ledger.dropped - 1, reason: 'cap' },
        ]);
        const told = chainOf(outbox.pending('predictions', 99));
        expect(told.records).toBe(ledger.pending);
        expect(told.gaps).toBe(ledger.dropped);
        expect(told.next).toBe(120);
      }),
    );

    it(
      'tells drops of records that were never sealed in the next batch',
      using((harness) => {
        const outbox = harness.open({ capBytes: 8000 });
        for (let i = 0; i < 100; i += 5) fill(outbox, i, i + 5);
        const { dropped, pending } = predictions(outbox);
        expect(dropped).toBeGreaterThan(0);
        expect(dropped + pending).toBe(100);
        const row = outbox.seal('predictions')!;
        expect(openBatch(row.bytes).header).toMatchObject({
          seq: dropped,
          gaps: [{ from: 0, to: dropped - 1, reason: 'cap' }],
        });
        expect(outbox.delivered(ack(row))).toBe(true);
        expectClosed(predictions(outbox));
      }),
    );

    it(
      'starts a new epoch when the server follows another chain, and carries the rest over',
      using((harness) => {
        const outbox = harness.open();
        const first = sealed(outbox, 0, 3);
        fill(outbox, 3, 6);
        outbox.abandonEpoch('predictions', 1);
        const ledger = predictions(outbox);
        expect(ledger).toMatchObject({ accepted: 6, unknown: 2, pending: 4, stored: 0 });
        expect(ledger.unknownRanges).toEqual([
          { epoch: first.epoch, from: 0, to: 1, reason: 'epoch-abandoned' },
        ]);
        const batch = openBatch(outbox.seal('predictions')!.bytes);
        expect(batch.header).toMatchObject({ seq: 0, n: 4, prev: NO_HEAD });
        expect(batch.header.epoch).not.toBe(first.epoch);
        expect(readRecords(batch)).toEqual([2, 3, 4, 5].map(prediction));
      }),
    );

    it(
      'refuses a record that would not come back as it went in',
      using((harness) => {
        const outbox = harness.open();
        const bad = (score: number) => () => outbox.append('predictions', { ...prediction(1), score });
        for (const score of [Number.NaN, Number.POSITIVE_INFINITY]) {
          expect(bad(score)).toThrowError(expect.objectContaining({ code: 'INPUT_NOT_FINITE' }));
        }
        const long = { ...prediction(1), label: 'x'.repeat(70_000) };
        expect(() => outbox.append('predictions', long)).toThrowError(
          expect.objectContaining({ code: 'PAYLOAD_TOO_LARGE' }),
        );
        expect(outbox.commit()).toBe(0);
      }),
    );

    it(
      'keeps streams apart',
      using((harness) => {
        const outbox = harness.open();
        fill(outbox, 0, 2);
        outbox.append('health', { ts: 1, mono: 1, boot: 'b', metrics: { temp_c: 51.2 } });
        outbox.commit();
        const row = outbox.seal('health')!;
        expect(row).toMatchObject({ stream: 'health', seq: 0, n: 1 });
        expect(predictions(outbox)).toMatchObject({ accepted: 2, pending: 2 });
      }),
    );
  });
}

/** Walks sealed rows as a server would and counts what they account for. */
function chainOf(rows: SealedRow[]): { records: number; gaps: number; next: number } {
  const sum = { records: 0, gaps: 0, next: 0, head: NO_HEAD };
  for (const row of rows) {
    const { header, head } = openBatch(row.bytes);
    expect(header.prev).toBe(sum.head);
    expect(header.gaps[0]?.from ?? header.seq).toBe(sum.next);
    sum.gaps += header.gaps.reduce((n, gap) => n + gap.to - gap.from + 1, 0);
    sum.records += header.n;
    sum.next = row.upTo + 1;
    sum.head = head;
  }
  return sum;
}
