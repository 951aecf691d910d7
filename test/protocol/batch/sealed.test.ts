import { type BatchHeader, covers, NO_HEAD } from '@skein/protocol/batch/header.ts';
import {
  chainHead,
  type Encoding,
  MAX_BATCH_BYTES,
  openBatch,
  readRecords,
  sealBatch,
  verifyBatch,
} from '@skein/protocol/batch/sealed.ts';
import { writeVarints } from '@skein/protocol/batch/varints.ts';
import type { SkeinError } from '@skein/protocol/errors.ts';
import { encode } from 'cborg';
import { deflateSync } from 'fflate';
import { describe, expect, it } from 'vitest';
import { anyObject, below, seeded, testSigner, testVerify } from './random.ts';
import { zstd } from './zstd.ts';

const signer = testSigner('device');

const headerOf = (n: number, more: Partial<BatchHeader> = {}): BatchHeader => ({
  v: 1,
  fleet: 'home',
  device: 'd-1',
  stream: 'predictions',
  epoch: '0123456789abcdef',
  ordinal: 1,
  seq: 0,
  n,
  prev: NO_HEAD,
  observed: n,
  kept: n,
  gaps: [],
  bridge: null,
  ...more,
});

/** What the server does with bytes from the wire. */
function take(bytes: Uint8Array): unknown[] {
  const batch = openBatch(bytes);
  verifyBatch(batch, testVerify, signer.publicKey);
  return readRecords(batch);
}

describe('a sealed batch', () => {
  it.each<Encoding>(['columns', 'compact', 'json'])(
    'carries any records and its header unchanged (%s)',
    (encoding) => {
      for (let seed = 1; seed <= 40; seed++) {
        const random = seeded(seed);
        const records = Array.from({ length: 1 + below(random, 40) }, () =>
          anyObject(random, 3, encoding === 'json'),
        );
        const header = headerOf(records.length, {
          seq: 20,
          gaps: [{ from: 15, to: 19, reason: 'cap' }],
          observed: records.length + 3,
          prev: 'ab'.repeat(32),
        });
        const bytes = sealBatch(header, records, signer, encoding);
        expect(take(bytes), `seed ${seed}`).toEqual(records);
        expect(openBatch(bytes).header).toEqual(header);
        expect(openBatch(bytes).head).toBe(chainHead(bytes));
        expect(bytes[0] === 0x7b).toBe(encoding === 'json');
      }
    },
  );

  it('states what it covers: its gaps, then its records', () => {
    expect(covers(headerOf(5, { seq: 10, gaps: [{ from: 7, to: 9, reason: 'cap' }] }))).toEqual({
      from: 7,
      to: 14,
    });
    const bridge = headerOf(0, {
      seq: 3,
      gaps: [{ from: 3, to: 8, reason: 'cap' }],
      bridge: 'cd'.repeat(32),
    });
    const bytes = sealBatch(bridge, [], signer);
    expect(covers(openBatch(bytes).header)).toEqual({ from: 3, to: 8 });
    expect(openBatch(bytes).head).toBe('cd'.repeat(32));
    expect(take(bytes)).toEqual([]);
  });

  it.each<Encoding>(['columns', 'compact', 'json'])(
    'is refused when any byte is changed (%s)',
    (encoding) => {
      const records = [
        { ts: 1, score: 0.25, label: 'ä' },
        { ts: 2, score: 0.5, label: 'b' },
      ];
      const bytes = sealBatch(headerOf(2), records, signer, encoding);
      for (let at = 0; at < bytes.length; at++) {
        for (const flip of [1, 0x80, 0xff]) {
          const changed = bytes.slice();
          changed[at]! ^= flip;
          expect(
            codeOf(() => take(changed)),
            `byte ${at} ^ ${flip}`,
          ).toMatch(/^BATCH_(INVALID|FORGED)$/);
        }
      }
    },
  );

  it.each<Encoding>(['columns', 'compact', 'json'])(
    'is refused when cut short or followed by more (%s)',
    (encoding) => {
      const bytes = sealBatch(headerOf(1), [{ ts: 1 }], signer, encoding);
      for (let length = 0; length < bytes.length; length++) {
        expect(
          codeOf(() => take(bytes.slice(0, length))),
          `${length} bytes`,
        ).toMatch(/^BATCH_(INVALID|FORGED)$/);
      }
      expect(codeOf(() => take(Uint8Array.of(...bytes, 0)))).toMatch(/^BATCH_(INVALID|FORGED)$/);
    },
  );

  it.each<Encoding>(['columns', 'compact'])(
    'never crashes the reader, even when the device itself signed rubbish (%s)',
    (encoding) => {
      const bytes = sealBatch(headerOf(3), [{ a: 1 }, { a: 2 }, { b: [1, 'x'] }], signer, encoding);
      for (let seed = 1; seed <= 1000; seed++) {
        const random = seeded(seed);
        const changed = bytes.slice();
        for (let i = 0; i <= below(random, 4); i++) changed[below(random, bytes.length)] = below(random, 256);
        const code = codeOf(() => readRecords(openBatch(changed)));
        expect(['', 'BATCH_INVALID'], `seed ${seed}`).toContain(code);
      }
    },
  );

  it('is forged when another key signed it', () => {
    const bytes = sealBatch(headerOf(1), [{ ts: 1 }], testSigner('somebody else'));
    expect(codeOf(() => take(bytes))).toBe('BATCH_FORGED');
  });

  it('stops a decompression bomb at the length it states, and a long one before inflating', () => {
    const bomb = withBody(deflateSync(new Uint8Array(64 << 20)), 1000);
    expect(() => readRecords(openBatch(bomb))).toThrowError(/more than it states/);
    expect(() => openBatch(withBody(new Uint8Array(10), 0x7fffffff))).toThrowError(/inflate beyond/);
    expect(() => openBatch(new Uint8Array(MAX_BATCH_BYTES + 1))).toThrowError(/at most/);
  });

  it('stops the bombs of the compact form as well: lengths that lie, trees that inflate, zstd that is not there', () => {
    const records = Array.from({ length: 40 }, (_, i) => ({ text: 'x'.repeat(500), i }));
    const bytes = sealBatch(headerOf(40), records, signer, 'compact');
    const longer = compact({ packing: 1, tree: 1000, packed: deflateSync(new Uint8Array(64 << 20)) });
    expect(() => readRecords(openBatch(longer))).toThrowError(/more than it states/);
    expect(() =>
      openBatch(compact({ packing: 1, tree: 0x7fffffff, packed: new Uint8Array(3) })),
    ).toThrowError(/longer than it may be/);
    expect(() =>
      openBatch(compact({ packing: 0, tree: 3, packed: new Uint8Array(3), coded: 30 })),
    ).toThrowError(/run over its end/);
    const frame = zstd.compress(new Uint8Array(32 << 20));
    const bomb = openBatch(compact({ packing: 2, tree: 1000, packed: frame }));
    expect(codeOf(() => readRecords(bomb, { zstd }))).toBe('BATCH_INVALID');
    expect(() => readRecords(bomb)).toThrowError(/zstd, which is not available/);
    expect(() => readRecords(openBatch(compact({ packing: 3, tree: 3, packed: frame })))).toThrowError(
      /does not know/,
    );
    expect(bytes.length).toBeLessThan(220);
    // [8, [[7, 1, [0, 0]]]]: lengths from the stream, which ends.
    const endless = compact({ packing: 0, tree: 4, packed: Uint8Array.of(0x83, 7, 1, 1) });
    expect(codeOf(() => readRecords(openBatch(endless)))).toBe('BATCH_INVALID');
  });

  it('uses zstd only where it was handed in and is shorter', () => {
    const words = ['alpha', 'beta', 'gamma', 'delta'];
    const records = Array.from({ length: 300 }, (_, i) => ({
      detail: `line ${(i * 7919) % 300}: ${words[i % 4]} ${words[(i * 3) % 4]} ${'valve open; '.repeat(i % 9)}`,
    }));
    const without = sealBatch(headerOf(300), records, signer, 'compact');
    const tried = sealBatch(headerOf(300), records, signer, 'compact', zstd);
    expect(tried.length).toBeLessThanOrEqual(without.length);
    expect(without[4]).not.toBe(2);
    expect(readRecords(openBatch(tried), { zstd })).toEqual(records);
    expect(readRecords(openBatch(without))).toEqual(records);
  });

  it('does not lie about its range', () => {
    const wrong: Partial<BatchHeader>[] = [
      { n: 0 },
      { n: 5000 },
      { seq: -1 },
      { seq: 1.5 },
      { gaps: [{ from: 5, to: 4, reason: 'cap' }] },
      { seq: 9, gaps: [{ from: 1, to: 4, reason: 'cap' }] },
      {
        seq: 9,
        gaps: [
          { from: 1, to: 4, reason: 'cap' },
          { from: 6, to: 8, reason: 'cap' },
        ],
      },
      { seq: 5, gaps: [{ from: 1, to: 4, reason: 'DROP TABLE' }] },
      { bridge: NO_HEAD },
      { prev: 'xyz' },
      { epoch: 'short' },
      { device: 'Not An Id' },
      { stream: 'other' as 'events' },
      { observed: 0 },
    ];
    for (const more of wrong) {
      expect(
        codeOf(() => sealBatch(headerOf(1, more), [{}], signer)),
        JSON.stringify(more),
      ).toBe('BATCH_INVALID');
    }
  });

  it('refuses numbers that JSON has no word for rather than writing null', () => {
    expect(codeOf(() => sealBatch(headerOf(1), [{ score: Number.NaN }], signer, 'json'))).toBe(
      'BATCH_INVALID',
    );
  });

  it('keeps a minute of predictions under 1.5 KB', () => {
    const random = seeded(7);
    const records = Array.from({ length: 60 }, (_, i) => ({
      ts: 1763812345678 + i * 1000 + below(random, 3),
      mono: 5000 + i * 1000,
      boot: '0011223344556677',
      source: 'host',
      model: 'host',
      version: '1.0.0',
      label: random() < 0.05 ? 'unusual' : 'usual',
      score: Math.fround(random()),
      alarm: 0,
      latency_us: 300 + below(random, 200),
    }));
    expect(sealBatch(headerOf(60), records, signer).length).toBeLessThan(1500);
  });
});

/** A batch of the second form around hostile lengths; `tree` is what it states. */
function compact(given: { packing: number; tree: number; packed: Uint8Array; coded?: number }): Uint8Array {
  const header = hostileHeader();
  const lengths = writeVarints([header.length, given.tree, given.packed.length, given.coded ?? 0]);
  const start = [0x53, 0x4b, 0x42, 0x32, given.packing];
  return Uint8Array.of(...start, ...lengths, ...header, ...given.packed, ...new Uint8Array(64));
}

function codeOf(task: () => unknown): string {
  try {
    task();
    return '';
  } catch (error) {
    return (error as SkeinError).code ?? String(error);
  }
}

/** Binary form around a hostile body. */
function withBody(body: Uint8Array, inflatedBytes: number): Uint8Array {
  const header = hostileHeader();
  const start = new Uint8Array(10);
  start.set([0x53, 0x4b, 0x42, 0x31]);
  new DataView(start.buffer).setUint16(4, header.length, true);
  new DataView(start.buffer).setUint32(6, inflatedBytes, true);
  return Uint8Array.of(...start, ...header, ...body, ...new Uint8Array(64));
}

const hostileHeader = (): Uint8Array =>
  encode(['home', 'd-1', 'health', new Uint8Array(8), 1, 0, 1, new Uint8Array(32), 1, [], null]);
