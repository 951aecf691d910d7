/**
 * The audit log and its hash chain know a device by a random pseudonym only. One row says who that is; without it
 * (the device was erased) nothing in the log leads back to the device, and the chain holds as it did.
 */
import type { Entropy } from '@skein/protocol/ports.ts';
import type { Kysely } from 'kysely';
import { isErased, mask } from '../erasure/identity.ts';
import type { Tables } from '../store/schema.ts';
import { newId } from './secrets.ts';

type Db = Kysely<Tables>;

/** A device's pseudonym, made when it is first needed; inside the caller's transaction. */
export async function pseudonymOf(tx: Db, entropy: Entropy, device: string): Promise<string> {
  const known = await tx
    .selectFrom('pseudonyms')
    .select('pseudonym')
    .where('device', '=', device)
    .executeTakeFirst();
  if (known) return known.pseudonym;
  if (await isErased(tx, device)) return pseudonymOfErased(tx, device);
  const pseudonym = `p-${newId(entropy, 12)}`;
  await tx.insertInto('pseudonyms').values({ device, pseudonym }).execute();
  return pseudonym;
}

/** An act that was under way when the device was erased gives it no new name; once that is done it is nobody. */
async function pseudonymOfErased(tx: Db, device: string): Promise<string> {
  const erasure = await tx
    .selectFrom('erasures')
    .select('pseudonym')
    .where('masked', '=', mask(device))
    .executeTakeFirst();
  return erasure?.pseudonym ?? '';
}

/** By pseudonym, those that still stand for somebody. */
export async function devicesBehind(db: Db, pseudonyms: readonly string[]): Promise<Map<string, string>> {
  if (pseudonyms.length === 0) return new Map();
  const rows = await db
    .selectFrom('pseudonyms')
    .selectAll()
    .where('pseudonym', 'in', [...new Set(pseudonyms)])
    .execute();
  return new Map(rows.map(({ device, pseudonym }) => [pseudonym, device]));
}
