/** Sealed batches with their bytes changed, and what a device that holds its key might sign to hurt its server. */
import { NO_HEAD } from '@skein/protocol/batch/header.ts';
import { openBatch, readRecords, sealBatch, verifyBatch } from '@skein/protocol/batch/sealed.ts';
import { SkeinError } from '@skein/protocol/errors.ts';
import { encode } from 'cborg';
import { deflateSync } from 'fflate';
import { describe, expect, it } from 'vitest';
import { mutations } from '../../mutations.ts';
import { testSigner, testVerify } from './random.ts';

const HOURS = 3_600_000;
const signer = testSigner('device');
const records = Array.from({ length: 12 }, (_, i) => ({
  ...{ ts: 1_763_812_345_678 + i * 1000, label: i % 3 ? 'usual' : 'ungewöhnlich', score: i / 7, alarm: 0 },
  values: [i, i * 2, null],
  ...(i % 4 ? { nested: { deep: [true, 'x'] } } : {}),
}));
const header = {
  ...{
    v: 1 as const,
    fleet: 'home',
    device: 'd-1',
    stream: 'predictions' as const,
    epoch: '0123456789abcdef',
  },
  ...{ ordinal: 1, seq: 20, n: records.length, prev: NO_HEAD, observed: 20, kept: records.length },
  ...{ gaps: [{ from: 15, to: 19, reason: 'cap' }], bridge: null },
};

/** What the server does with bytes from the wire. */
function take(bytes: Uint8Array): unknown[] {
  const batch = openBatch(bytes);
  verifyBatch(batch, testVerify, signer.publicKey);
  return readRecords(batch);
}

function codeOf(task: () => unknown, what: string): string {
  try {
    task();
    return '';
  } catch (thrown) {
    if (!(thrown instanceof SkeinError)) expect.fail(`${what}: ${(thrown as Error).stack}`);
    return thrown.code;
  }
}

describe.each(['columns', 'compact', 'json'] as const)('a batch in %s', (encoding) => {
  const good = sealBatch(header, records, signer, encoding);

  it(
    'with any byte changed is refused',
    () => {
      expect(take(good)).toEqual(records);
      for (const { what, bytes } of mutations(good, 120))
        expect(
          codeOf(() => take(bytes), what),
          what,
        ).toMatch(/^BATCH_(INVALID|FORGED)$/);
    },
    HOURS,
  );

  it(
    'that its own device signed with any byte changed is read or refused as such',
    () => {
      for (const { what, bytes } of mutations(good, 120))
        expect(['', 'BATCH_INVALID'], what).toContain(codeOf(() => readRecords(openBatch(bytes)), what));
    },
    HOURS,
  );
});

/** Binary form around any header and body; the signature does not matter before the body is read. */
function binary(head: Uint8Array, body: Uint8Array, inflatedBytes: number): Uint8Array {
  const start = new Uint8Array(10);
  start.set([0x53, 0x4b, 0x42, 0x31]);
  new DataView(start.buffer).setUint16(4, head.length, true);
  new DataView(start.buffer).setUint32(6, inflatedBytes, true);
  return new Uint8Array(Buffer.concat([start, head, body, new Uint8Array(64)]));
}
const head = encode(['home', 'd-1', 'health', new Uint8Array(8), 1, 0, 1, new Uint8Array(32), 1, [], null]);
const bodyOf = (cbor: Uint8Array) => binary(head, deflateSync(cbor), cbor.length);
const filled = (length: number, byte: number) => new Uint8Array(length).fill(byte);

describe('CBOR that lies', () => {
  // biome-ignore format: a table
  it.each([
    ['nested a million deep',               filled(1_000_000, 0x81)],
    ['nested without end',                  filled(1_000_000, 0x9f)],
    ['of maps in maps',                     filled(1_000_000, 0xa1)],
    ['of tags in tags',                     filled(1_000_000, 0xc1)],
    ['with a list of 2^32 − 1 elements',    Uint8Array.of(0x9a, 0xff, 0xff, 0xff, 0xff)],
    ['with a list of 2^64 − 1 elements',    Uint8Array.of(0x9b, ...filled(8, 0xff))],
    ['with a map of 2^53 members',          Uint8Array.of(0xbb, 0, 0x20, 0, 0, 0, 0, 0, 0)],
    ['with 2^32 − 1 bytes',                 Uint8Array.of(0x5a, 0xff, 0xff, 0xff, 0xff)],
    ['with a text of 2^63 bytes',           Uint8Array.of(0x7b, 0x80, ...filled(7, 0))],
    ['of bytes in pieces that do not end',  Uint8Array.of(0x5f, 0x41, 0)],
    ['with rubbish behind it',              Uint8Array.of(0x80, 0x80)],
    ['of a simple value nobody knows',      Uint8Array.of(0xf8, 0xff)],
    ['of nothing',                          new Uint8Array()],
  ])('%s is refused in bounded memory, as header and as body', (what, cbor) => {
    const before = process.memoryUsage().rss;
    expect(codeOf(() => readRecords(openBatch(bodyOf(cbor))), what)).toBe('BATCH_INVALID');
    const short = cbor.subarray(0, 16_000);
    expect(codeOf(() => openBatch(binary(short, new Uint8Array(), 0)), what)).toBe('BATCH_INVALID');
    expect(process.memoryUsage().rss - before).toBeLessThan(200 * 2 ** 20);
  });

  it('is not believed about how many values a few bytes are', () => {
    const lists = (size: number, items: unknown) => [8, [0, size], items];
    for (const column of [
      lists(2 ** 21, [0, 1]),
      lists(2 ** 53, [0, 1]),
      lists(2 ** 20, lists(2 ** 20, [0, 1])),
      [
        7,
        ['a', 'b'],
        [null, Uint8Array.of(255, 255)],
        [
          [0, 1],
          [0, 1],
        ],
      ],
    ])
      expect(codeOf(() => readRecords(openBatch(bodyOf(encode(column)))), 'lists')).toBe('BATCH_INVALID');
  });
});

describe('JSON that lies', () => {
  const text = (body: string) => new TextEncoder().encode(`${body},"signature":"${'0'.repeat(128)}"}`);
  const plain = JSON.stringify({ ...header, kept: undefined }).slice(0, -1);

  it.each([
    ['with a member twice', `${plain},"records":[],"device":"d-2"`],
    ['with a member twice in a record', `${plain},"records":[{"a":1,"a":2}]`],
    ['nested half a million deep', `${plain},"records":${'['.repeat(500_000)}${']'.repeat(500_000)}`],
    ['with records that are no list', `${plain},"records":{"length":12}`],
  ])('%s is refused', (what, body) => {
    expect(codeOf(() => readRecords(openBatch(text(body))), what)).toBe('BATCH_INVALID');
  });
});
