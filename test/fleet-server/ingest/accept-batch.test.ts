import type { BatchHeader } from '@skein/protocol/batch/header.ts';
import { NO_HEAD } from '@skein/protocol/batch/header.ts';
import { describe, expect, it } from 'vitest';
import { acceptBatch, NOTHING, storedWithin } from '../../../fleet-server/src/ingest/accept-batch.ts';

const A = 'aa'.repeat(32);
const B = 'bb'.repeat(32);

const arrival = (seq: number, n: number, more: Partial<BatchHeader> = {}, head = B) => ({
  head,
  header: {
    v: 1,
    fleet: 'home',
    device: 'd-1',
    stream: 'predictions',
    epoch: '0123456789abcdef',
    ordinal: 1,
    seq,
    n,
    prev: A,
    observed: n,
    kept: n,
    gaps: [],
    bridge: null,
    ...more,
  } as BatchHeader,
});
const bridge = (from: number, to: number, prev = A) =>
  arrival(from, 0, { gaps: [{ from, to, reason: 'cap' }], bridge: B, prev });
const mark = { nextSeq: 10, head: A };

describe('accepting a batch', () => {
  it.each([
    ['the next number on the same chain', mark, arrival(10, 5), { nextSeq: 15, head: B }],
    ['the first of an epoch', NOTHING, arrival(0, 5, { prev: NO_HEAD }), { nextSeq: 5, head: B }],
    ['a bridge', mark, bridge(10, 19), { nextSeq: 20, head: B }],
    [
      'a batch that starts with its gaps',
      mark,
      arrival(15, 5, { gaps: [{ from: 10, to: 14, reason: 'cap' }] }),
      { nextSeq: 20, head: B },
    ],
  ])('takes %s', (_, from, batch, next) => {
    expect(acceptBatch(from, batch)).toEqual({ kind: 'accept', next, gaps: batch.header.gaps });
  });

  it.each([
    ['acknowledges again what it has', arrival(5, 5, {}, A), A, { kind: 'duplicate' }],
    ['acknowledges again what was told as a gap meanwhile', arrival(5, 5), undefined, { kind: 'duplicate' }],
    ['acknowledges a bridge again', bridge(2, 9), undefined, { kind: 'duplicate' }],
    ['asks for what is missing before', arrival(11, 5), undefined, { kind: 'gap' }],
    ['asks for the rest of a bridge it lies inside', bridge(5, 15), undefined, { kind: 'gap' }],
    ['tells another chain', arrival(10, 5, { prev: B }), undefined, { kind: 'fork', reason: 'chain-broken' }],
    [
      'tells a bridge on another chain',
      bridge(10, 12, B),
      undefined,
      { kind: 'fork', reason: 'chain-broken' },
    ],
    ['tells other bytes under one number', arrival(5, 5), A, { kind: 'fork', reason: 'same-number' }],
    ['tells a batch cut elsewhere', arrival(8, 5), undefined, { kind: 'fork', reason: 'chain-broken' }],
  ])('%s', (_, batch, stored, verdict) => {
    expect(acceptBatch(mark, batch, stored)).toEqual(verdict);
  });

  it('wants an unknown epoch from its beginning', () => {
    expect(acceptBatch(NOTHING, arrival(3, 5))).toEqual({ kind: 'gap' });
  });

  it('counts records that are stored between gaps', () => {
    const gaps = [
      { from: 0, to: 4 },
      { from: 8, to: 20 },
    ];
    expect(storedWithin({ from: 3, to: 9 }, gaps)).toBe(3);
    expect(storedWithin({ from: 8, to: 20 }, gaps)).toBe(0);
    expect(storedWithin({ from: 5, to: 7 }, [])).toBe(3);
  });
});
