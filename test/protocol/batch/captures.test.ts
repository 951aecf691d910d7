/** Captures of each form, made when it was new: what a device of that time sends, a server reads for ever. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { BatchHeader } from '@skein/protocol/batch/header.ts';
import { openBatch, readRecords, sealBatch, verifyBatch } from '@skein/protocol/batch/sealed.ts';
import { describe, expect, it } from 'vitest';
import { readIndependently } from './independent-reader.ts';
import { anyObject, below, seeded, testSigner, testVerify } from './random.ts';
import { zstd } from './zstd.ts';

interface Capture {
  what: string;
  bytes: string;
  head: string;
  header: BatchHeader;
  records: unknown[];
}

const FOLDER = join(import.meta.dirname, '..', '..', 'golden', 'batches');

function captures(form: string): { publicKey: Uint8Array; batches: Capture[] } {
  const { publicKey, batches } = JSON.parse(readFileSync(join(FOLDER, `${form}.json`), 'utf8'), (_, value) =>
    value === '-0' ? -0 : value,
  );
  return { publicKey: new Uint8Array(Buffer.from(publicKey, 'hex')), batches };
}

/** The document speaks of neither; ours say them too. */
const written = ({ v: _, kept: __, ...header }: BatchHeader) => header;

describe.each(['skb1', 'skb2'])('captured batches of form %s', (form) => {
  const { publicKey, batches } = captures(form);

  it.each(batches)('are read for ever: $what', ({ bytes, head, header, records }) => {
    const batch = openBatch(new Uint8Array(Buffer.from(bytes, 'base64')));
    verifyBatch(batch, testVerify, publicKey);
    expect(batch.header).toEqual(header);
    expect(batch.head).toBe(head);
    expect(readRecords(batch, { zstd })).toEqual(records);
  });

  it.each(batches)('are read by the published layout alone: $what', ({ bytes, header, records }) => {
    const read = readIndependently(Buffer.from(bytes, 'base64'));
    expect(read.records).toEqual(records);
    expect(read.header).toEqual(written(header));
    const signed = Buffer.concat([Buffer.from('skein-batch-v1\0'), read.signed]);
    expect(testVerify(publicKey, signed, read.signature)).toBe(true);
  });
});

describe('the published layout', () => {
  it.each(['columns', 'compact', 'json'] as const)(
    'reads whatever is sealed, and the same (%s)',
    (encoding) => {
      const signer = testSigner('device');
      for (let seed = 1; seed <= 80; seed++) {
        const random = seeded(seed);
        const records = Array.from({ length: 1 + below(random, 30) }, () =>
          anyObject(random, 3, encoding === 'json'),
        );
        const n = records.length;
        const header: BatchHeader = {
          ...captures('skb1').batches[0]!.header,
          ...{ seq: 9, n, kept: n, observed: n + below(random, 9) },
          gaps: [{ from: 7, to: 8, reason: 'cap' }],
        };
        const bytes = sealBatch(header, records, signer, encoding, seed % 2 ? zstd : undefined);
        const read = readIndependently(bytes);
        expect(read.records, `seed ${seed}`).toEqual(readRecords(openBatch(bytes), { zstd }));
        expect(read.records, `seed ${seed}`).toEqual(records);
        expect(read.header).toEqual(written(header));
      }
    },
  );
});
