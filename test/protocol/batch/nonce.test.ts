import { createHash } from 'node:crypto';
import { askedHash, NONCE_BYTES, takeNonce, withNonce } from '@skein/protocol/batch/nonce.ts';
import { expect, it } from 'vitest';

const batch = new TextEncoder().encode('SKB1 and more');
const nonce = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8);

it('goes before a batch and comes off it again, as BATCH.md lays it out', () => {
  const bytes = withNonce(nonce, batch);
  expect(Buffer.from(bytes)).toEqual(Buffer.concat([Buffer.from('SKN1'), nonce, batch]));
  expect(takeNonce(bytes)).toEqual({ batch, nonce });
  expect(nonce).toHaveLength(NONCE_BYTES);
});

it('is not there where none was put', () => {
  for (const payload of [batch, new Uint8Array(), new TextEncoder().encode('{"v":1')])
    expect(takeNonce(payload)).toEqual({ batch: payload, nonce: undefined });
});

it('is refused when it is cut short', () => {
  const bytes = withNonce(nonce, batch);
  for (let length = 4; length < 12; length++)
    expect(() => takeNonce(bytes.slice(0, length))).toThrowError(
      expect.objectContaining({ code: 'BATCH_INVALID' }),
    );
});

it('makes the answer another one for each nonce and each batch', () => {
  const hash = 'ab'.repeat(32);
  const whole = Buffer.concat([nonce, Buffer.from(hash, 'hex')]);
  expect(askedHash(nonce, hash)).toBe(createHash('sha256').update(whole).digest('hex'));
  const others = [askedHash(nonce.toReversed(), hash), askedHash(nonce, 'cd'.repeat(32)), hash];
  expect(others).not.toContain(askedHash(nonce, hash));
});
