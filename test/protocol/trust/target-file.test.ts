import { createHash } from 'node:crypto';
import { hashesMatch, TargetCheck, targetPathOnMirror } from '@skein/protocol/trust/target-file.ts';
import { describe, expect, it } from 'vitest';

const bytes = Buffer.from('the bytes that were signed');
const digest = (algorithm: string) => createHash(algorithm).update(bytes).digest('hex');
const both = { sha256: digest('sha256'), sha512: digest('sha512') };
const refused = (code: string) => expect.objectContaining({ code });

function take(file: { length: number; hashes: Record<string, string> }, ...chunks: Uint8Array[]): void {
  const check = new TargetCheck('t', file);
  for (const chunk of chunks) check.update(chunk);
  check.finish();
}

describe('a target’s bytes', () => {
  it.each<Record<string, string>>([
    { sha256: both.sha256 },
    { sha512: both.sha512 },
    both,
    { ...both, future: '00' },
  ])('pass whole and in pieces when every known hash fits', (hashes) => {
    take({ length: bytes.length, hashes }, bytes);
    take({ length: bytes.length, hashes }, ...[...bytes].map((byte) => Uint8Array.of(byte)));
    expect(hashesMatch(hashes, bytes)).toBe(true);
  });

  it('fail when any known hash does not fit, or some are missing', () => {
    const wrong = { ...both, sha512: '0'.repeat(128) };
    expect(() => take({ length: bytes.length, hashes: wrong }, bytes)).toThrow(refused('BLOB_MISMATCH'));
    expect(hashesMatch(wrong, bytes)).toBe(false);
    const short = bytes.subarray(1);
    expect(() => take({ length: bytes.length, hashes: both }, short)).toThrow(refused('BLOB_MISMATCH'));
  });

  it('are cut off at the length that was signed', () => {
    const check = new TargetCheck('t', { length: 3, hashes: both });
    check.update(bytes.subarray(0, 3));
    expect(() => check.update(bytes.subarray(3, 4))).toThrow(refused('BLOB_TOO_LARGE'));
  });

  it.each<Record<string, string>>([{}, { md5: digest('md5') }, { constructor: '00' }])(
    'are not even begun when no hash is known',
    (hashes) => {
      expect(() => new TargetCheck('t', { length: 1, hashes })).toThrow(refused('METADATA_INVALID'));
      expect(hashesMatch(hashes, bytes)).toBe(false);
    },
  );
});

describe('a target’s name on a mirror', () => {
  const file = { length: 1, hashes: both };

  it('begins with its hash in its own folder when snapshots are consistent', () => {
    expect(targetPathOnMirror('a/b/c.txt', file, true)).toBe(`a/b/${both.sha256}.c.txt`);
    expect(targetPathOnMirror('c.txt', file, true)).toBe(`${both.sha256}.c.txt`);
    expect(targetPathOnMirror('a/b/c.txt', file, false)).toBe('a/b/c.txt');
  });

  it('needs a hash that is known', () => {
    expect(() => targetPathOnMirror('c', { length: 1, hashes: { md5: '00' } }, true)).toThrow(
      refused('METADATA_INVALID'),
    );
  });
});
