import { randomBytes } from 'node:crypto';
import { fromBase64, toBase64 } from '@skein/protocol/base64.ts';
import { describe, expect, it } from 'vitest';

describe('base64', () => {
  it('agrees with Node both ways at every length', () => {
    for (let length = 0; length < 70; length++) {
      const bytes = new Uint8Array(randomBytes(length));
      expect(toBase64(bytes)).toBe(Buffer.from(bytes).toString('base64'));
      expect(fromBase64(toBase64(bytes))).toEqual(bytes);
    }
  });

  it.each(['A', 'AA', 'AAA', 'AA=A', 'AB==', 'A===', '====', 'AA A', 'AA-_', 'AAAA='])(
    'refuses %j, which is not the one spelling of any bytes',
    (text) => {
      expect(() => fromBase64(text)).toThrow(expect.objectContaining({ code: 'MESSAGE_INVALID' }));
    },
  );
});
