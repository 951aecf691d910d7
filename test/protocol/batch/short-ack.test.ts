import { isShortAck, MAX_ANSWERED, openShortAck, sealShortAck } from '@skein/protocol/batch/short-ack.ts';
import { describe, expect, it } from 'vitest';
import { testSigner, testVerify } from './random.ts';

const server = testSigner('server');
const keys = [Buffer.from(testSigner('older').publicKey), Buffer.from(server.publicKey)].map((key) =>
  key.toString('hex'),
);
const [one, two] = ['ab'.repeat(32), '01'.repeat(32)] as const;

describe('a short acknowledgement', () => {
  it('says which batches it answers, in a hundred bytes for one', () => {
    const bytes = sealShortAck(server, 'd-1', [one]);
    expect(bytes.length).toBe(100);
    expect(isShortAck(bytes)).toBe(true);
    expect(openShortAck(testVerify, keys, 'd-1', bytes)).toEqual([one]);
    expect(openShortAck(testVerify, keys, 'd-1', sealShortAck(server, 'd-1', [one, two]))).toEqual([
      one,
      two,
    ]);
  });

  it('is for one device and by one of the named keys', () => {
    const bytes = sealShortAck(server, 'd-1', [one]);
    for (const [named, device] of [
      [keys, 'd-2'],
      [keys.slice(0, 1), 'd-1'],
      [[], 'd-1'],
    ] as const) {
      expect(() => openShortAck(testVerify, named, device, bytes)).toThrowError(
        expect.objectContaining({ code: 'SIGNATURE_INVALID' }),
      );
    }
  });

  it('is refused when any byte is changed, when it is cut, and when it answers nothing or too much', () => {
    const bytes = sealShortAck(server, 'd-1', [one]);
    for (let at = 0; at < bytes.length; at++) {
      const changed = bytes.slice();
      changed[at]! ^= 1;
      expect(() => openShortAck(testVerify, keys, 'd-1', changed), `byte ${at}`).toThrow();
      expect(() => openShortAck(testVerify, keys, 'd-1', bytes.slice(0, at)), `${at} bytes`).toThrow();
    }
    for (const count of [0, MAX_ANSWERED + 1])
      expect(() => sealShortAck(server, 'd-1', new Array(count).fill(one))).toThrowError(
        expect.objectContaining({ code: 'MESSAGE_INVALID' }),
      );
  });
});
