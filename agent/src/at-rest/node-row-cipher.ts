/**
 * Rows of the outbox, encrypted: `2 ‖ name(4) ‖ check(2) ‖ nonce(12) ‖ ciphertext ‖ tag(16)`, 35 bytes more than in clear.
 * Table, stream, epoch and sequence number are the associated data.
 */
import { CLEAR, DamagedRow, ENCRYPTED, type RowCipher, type RowPlace } from '../outbox/row-cipher.ts';
import { keyWrong } from './key-port.ts';
import { gcmOpen, gcmSeal, secretKey } from './node-gcm.ts';
import { headFor, whose } from './node-key-name.ts';

const MARK = Uint8Array.of(ENCRYPTED);

const aboutOf = ({ table, stream, epoch, seq }: RowPlace): string =>
  `skein at rest 1\n${table}\n${stream}\n${epoch}\n${seq}\n`;

/** @param encrypts false: new rows lie in clear, those that are encrypted can still be read */
export function rowCipher(dataKey: Uint8Array, encrypts = true): RowCipher {
  const key = secretKey(dataKey);
  const head = headFor(dataKey, MARK);
  const isEncrypted = (stored: Uint8Array): boolean => {
    const found = whose(stored, head, MARK.length);
    if (found === 'other') throw otherKey('the buffer');
    return found !== 'clear';
  };
  return {
    encrypts,
    encrypt: encrypts ? (plain, place) => gcmSeal(key, plain, aboutOf(place), head) : CLEAR.encrypt,
    isEncrypted,
    decrypt(stored, place) {
      if (!isEncrypted(stored)) return stored;
      const plain = gcmOpen(key, stored, aboutOf(place), head.length);
      if (!plain) throw new DamagedRow(place);
      return plain;
    },
  };
}

export const otherKey = (what: string) =>
  keyWrong(
    `${what} is encrypted with another data key than at-rest.json in the state directory holds`,
    'Bring back the at-rest.json that belongs to this data. Without it the data cannot be read by anyone: move it away to begin anew.',
  );
