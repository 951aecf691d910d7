/**
 * Encryption was switched on, or off, over a buffer that holds something: at the next start every row is written anew as
 * it is wanted now, a piece at a time, and the place that the old bytes took is emptied. A kill in the middle leaves rows of
 * both kinds, which can be read as they are, and the next start goes on.
 *
 * The header's application_id says how far it got: 0 nothing is encrypted, {@link MIXED}, {@link ALL}.
 */

import { crc32 } from 'node:zlib';
import { STREAMS } from '@skein/protocol/topics.ts';
import type { Bytes } from '@skein/protocol/units.ts';
import type Database from 'better-sqlite3';
import type { Hiding, RowPlace } from './row-cipher.ts';

const ALL = 0x534b_0001;
const MIXED = 0x534b_0002;
/** Of one transaction. */
const PIECE: Bytes = 256 << 10;

interface Key {
  stream: number;
  seq: number;
}

/**
 * @param transaction one step, whole or not at all
 * @returns false: all lay as it is wanted before
 * @throws what SQLite throws: a full disk; what was rewritten so far stays so
 */
export function rewriteRows(
  database: Database.Database,
  hiding: Hiding,
  transaction: (step: () => void) => void,
): boolean {
  const { encrypts } = hiding.cipher;
  const wanted = encrypts ? ALL : 0;
  const found = database.pragma('application_id', { simple: true });
  if (found !== wanted) {
    database.pragma(`application_id = ${MIXED}`);
    for (const table of ['chunks', 'batches'] as const) rewriteTable(database, hiding, table, transaction);
    if (encrypts) emptyOldPlaces(database);
    database.pragma(`application_id = ${wanted}`);
  }
  hiding.mixed = !encrypts;
  return found !== wanted;
}

const SQL = {
  chunks: {
    keys: 'SELECT stream, seq FROM chunks ORDER BY stream, seq',
    row: 'SELECT body FROM chunks WHERE stream = ? AND seq = ?',
    update: 'UPDATE chunks SET body = @blob, size = @size, crc = @crc WHERE stream = @stream AND seq = @seq',
  },
  batches: {
    keys: 'SELECT stream, from_seq AS seq FROM batches WHERE bytes IS NOT NULL ORDER BY stream, from_seq',
    row: 'SELECT bytes FROM batches WHERE stream = ? AND from_seq = ?',
    update: 'UPDATE batches SET bytes = @blob WHERE stream = @stream AND from_seq = @seq',
  },
};

function rewriteTable(
  database: Database.Database,
  hiding: Hiding,
  table: RowPlace['table'],
  transaction: (step: () => void) => void,
): void {
  const sql = SQL[table];
  const row = database.prepare(sql.row).pluck();
  const update = database.prepare(sql.update);
  const keys = database.prepare(sql.keys).all() as Key[];
  let at = 0;
  while (at < keys.length)
    transaction(() => {
      for (let bytes = 0; at < keys.length && bytes < PIECE; at++) {
        const { stream, seq } = keys[at]!;
        const stored = row.get(stream, seq) as Buffer;
        bytes += stored.length;
        if (hiding.cipher.isEncrypted(stored) === hiding.cipher.encrypts) continue;
        const name = STREAMS[stream]!;
        const blob = hiding.show(stored, table, name, seq, (plain) => hiding.hide(plain, table, name, seq));
        const more = table === 'chunks' ? { size: blob.length, crc: crc32(blob) } : {};
        update.run({ blob, stream, seq, ...more });
      }
    });
}

/**
 * Bytes of old rows, and of rows that are long gone, lie in free pages and in the log: the file is written anew without
 * them, and the log is cut off.
 */
function emptyOldPlaces(database: Database.Database): void {
  database.exec('VACUUM');
  database.pragma('wal_checkpoint(TRUNCATE)');
}
