/**
 * Is a database ours to read? One that is encrypted with another key, or with any where none is configured, must never be
 * taken for damaged: it is looked at before anything is moved, and the agent does not start.
 */

import { asSkeinError } from '@skein/protocol/errors.ts';
import { STREAMS } from '@skein/protocol/topics.ts';
import Database from 'better-sqlite3';
import { attempt } from '../attempt.ts';
import type { RowCipher } from './row-cipher.ts';

const BLOBS = [
  ['chunks', 'body', 'seq'],
  ['batches', 'bytes', 'from_seq'],
] as const;
const KEY_CODES: readonly string[] = ['DATA_KEY_WRONG', 'DATA_KEY_NEEDED'];

/** The oldest and the newest blob of each stream, as far as they can be read. @throws SkeinError DATA_KEY_WRONG, DATA_KEY_NEEDED */
export function refuseForeign(database: Database.Database, cipher: RowCipher): void {
  for (const [table, column, key] of BLOBS)
    for (const order of ['ASC', 'DESC'])
      for (const stream of STREAMS.keys()) {
        const blob = attempt(() =>
          database
            .prepare(
              `SELECT ${column} FROM ${table} WHERE stream = ? AND ${column} IS NOT NULL ORDER BY ${key} ${order} LIMIT 1`,
            )
            .pluck()
            .get(stream),
        );
        if (blob instanceof Uint8Array) cipher.isEncrypted(blob);
      }
}

/** The same of a file that may be damaged. @throws SkeinError DATA_KEY_WRONG, DATA_KEY_NEEDED */
export function refuseForeignFile(path: string, cipher: RowCipher): void {
  let database: Database.Database | undefined;
  try {
    database = new Database(path, { readonly: true });
    refuseForeign(database, cipher);
  } catch (thrown) {
    if (KEY_CODES.includes(asSkeinError(thrown).code)) throw thrown;
  } finally {
    database?.close();
  }
}
