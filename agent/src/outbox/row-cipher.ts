/**
 * What stands between a row's bytes and the disk, when data at rest is encrypted. Of a row only the records, or the signed
 * batch, are hidden; its numbers, times and sizes, which are the ledger, stay in clear. Pure.
 */
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Stream } from '@skein/protocol/topics.ts';
import { sealedWithoutKey } from '../at-rest/key-port.ts';

/** Where a row lies: bytes that were written for another place do not open. */
export interface RowPlace {
  table: 'chunks' | 'batches';
  stream: Stream;
  epoch: string;
  /** The row's key. */
  seq: number;
}

export interface RowCipher {
  /** Are new rows encrypted? */
  readonly encrypts: boolean;
  /** What is written down for `plain`. */
  encrypt(plain: Uint8Array, place: RowPlace): Uint8Array;
  /** A row in clear is given back as it is. @throws DamagedRow, SkeinError DATA_KEY_WRONG, DATA_KEY_NEEDED */
  decrypt(stored: Uint8Array, place: RowPlace): Uint8Array;
  /** @throws SkeinError DATA_KEY_WRONG, DATA_KEY_NEEDED when it is, and not for this key */
  isEncrypted(stored: Uint8Array): boolean;
}

/** First byte of an encrypted row; a chunk in clear begins with 0 or `{`, a batch with `S` or `{`. */
export const ENCRYPTED = 2;

/** A row whose bytes are not what was written: damage like that of a page, though SQLite cannot see it. */
export class DamagedRow extends SkeinError {
  constructor({ table, stream, seq }: RowPlace) {
    super(
      'OUTBOX_CORRUPT',
      `outbox: ${table} of ${stream} at ${seq}: its bytes are not what was written there`,
    );
  }
}

/** Nothing is encrypted. */
export const CLEAR: RowCipher = {
  encrypts: false,
  encrypt: (plain) => plain,
  decrypt(stored) {
    CLEAR.isEncrypted(stored);
    return stored;
  },
  isEncrypted(stored) {
    if (stored[0] === ENCRYPTED) throw sealedWithoutKey('the buffer');
    return false;
  },
};

/** How the bytes of a database's rows are hidden: the rows of a stream are all of its present epoch. */
export class Hiding {
  readonly cipher: RowCipher;
  readonly #epochOf: (stream: Stream) => string;
  /** Some rows lie in clear from before; otherwise nobody of ours wrote one that does. */
  mixed = true;

  constructor(cipher: RowCipher = CLEAR, epochOf: (stream: Stream) => string = () => '') {
    this.cipher = cipher;
    this.#epochOf = epochOf;
  }

  hide(plain: Uint8Array, table: RowPlace['table'], stream: Stream, seq: number): Uint8Array {
    if (!this.cipher.encrypts) return plain;
    return this.cipher.encrypt(plain, { table, stream, epoch: this.#epochOf(stream), seq });
  }

  /** @param read what it is needed for; what it throws is damage too @throws DamagedRow, SkeinError DATA_KEY_* */
  show<T>(
    stored: Uint8Array,
    table: RowPlace['table'],
    stream: Stream,
    seq: number,
    read: (plain: Uint8Array) => T,
  ): T {
    const place: RowPlace = { table, stream, epoch: this.#epochOf(stream), seq };
    if (!this.mixed && !this.cipher.isEncrypted(stored)) throw new DamagedRow(place);
    const plain = this.cipher.decrypt(stored, place);
    try {
      return read(plain);
    } catch {
      throw new DamagedRow(place);
    }
  }
}
