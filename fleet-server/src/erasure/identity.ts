/**
 * What remains of an erased device: hashes that keep its identity refused, so that its id is never given again (an old
 * certificate would fit it) and its report key never enrols again. A certificate without an enrolled device is
 * refused anyway. An id is random, so its hash says nothing to who does not know the id.
 */
import { bytesToHex, hexToBytes, utf8ToBytes } from '@noble/hashes/utils.js';
import { sha256Hex } from '@skein/protocol/sha256.ts';
import type { Sha256Hex } from '@skein/protocol/units.ts';
import type { Kysely } from 'kysely';
import type { Tables } from '../store/schema.ts';

export const identityHash = (kind: 'id' | 'report-key', value: string): Sha256Hex =>
  sha256Hex(utf8ToBytes(`skein-erased-v1\n${kind}\n${value}`));

/** Is this the id, or the report key, of a device that was erased? */
export async function isErased(
  db: Kysely<Tables>,
  value: string,
  kind: 'id' | 'report-key' = 'id',
): Promise<boolean> {
  const row = await db
    .selectFrom('erased')
    .select('identity')
    .where('identity', '=', identityHash(kind, value))
    .executeTakeFirst();
  return row !== undefined;
}

/** The id as it is kept until all else is gone: no search for it finds it. */
export const mask = (device: string): string => bytesToHex(utf8ToBytes(device));
export const unmask = (masked: string): string => new TextDecoder().decode(hexToBytes(masked));
