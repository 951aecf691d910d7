/** The `models` table: what signed targets say, made readable. It is rebuilt from each upload and decides nothing. */
import type { ModelView } from '@skein/protocol/api.ts';
import { SkeinError } from '@skein/protocol/errors.ts';
import { blobsOf, type Manifest } from '@skein/protocol/manifest.ts';
import type { Millis } from '@skein/protocol/units.ts';
import type { Selectable, Transaction } from 'kysely';
import type { Tables } from '../store/schema.ts';
import type { Store } from '../store/sqlite-store.ts';
import type { SignedModel } from './upload-check.ts';

type Row = Selectable<Tables['models']>;

/** Models that the latest targets no longer list are revoked; one that is listed again is not. */
export async function registerModels(
  tx: Transaction<Tables>,
  models: readonly SignedModel[],
  now: Millis,
): Promise<void> {
  await tx.updateTable('models').set({ revoked_at: now }).where('revoked_at', 'is', null).execute();
  for (const { target, manifestSha256, manifestJson } of models) {
    const said = {
      release: target.release,
      floor: target.floor,
      manifest_sha256: manifestSha256,
      manifest_json: manifestJson,
      revoked_at: null,
    };
    await tx
      .insertInto('models')
      .values({ ...said, name: target.model, version: target.version, published_at: now })
      .onConflict((clash) => clash.columns(['name', 'version']).doUpdateSet(said))
      .execute();
  }
}

/** Versions that were published once and are not signed any more. */
export const revokedModels = (store: Store): Promise<{ name: string; version: string }[]> =>
  store.selectFrom('models').select(['name', 'version']).where('revoked_at', 'is not', null).execute();

/** By name, newest release first. */
export async function listModels(store: Store): Promise<ModelView[]> {
  const rows = await store
    .selectFrom('models')
    .selectAll()
    .orderBy('name')
    .orderBy('release', 'desc')
    .execute();
  const devices = await devicesByModel(store);
  return rows.map((row) => viewOf(row, devices));
}

/** @throws SkeinError NOT_FOUND */
export async function showModel(
  store: Store,
  name: string,
  version: string,
): Promise<ModelView & { manifest: unknown }> {
  const row = await store
    .selectFrom('models')
    .selectAll()
    .where('name', '=', name)
    .where('version', '=', version)
    .executeTakeFirst();
  if (!row) {
    throw new SkeinError('NOT_FOUND', `there is no model ${name}@${version}`, {
      fix: 'See `skein models list`.',
    });
  }
  return { ...viewOf(row, await devicesByModel(store)), manifest: manifestOf(row) };
}

async function devicesByModel(store: Store): Promise<Map<string, number>> {
  const rows = await store
    .selectFrom('installed')
    .select(({ fn }) => ['model', 'version', fn.countAll<number>().as('devices')])
    .groupBy(['model', 'version'])
    .execute();
  return new Map(rows.map((row) => [`${row.model}@${row.version}`, Number(row.devices)]));
}

function viewOf(row: Row, devices: ReadonlyMap<string, number>): ModelView {
  const manifest = manifestOf(row);
  return {
    name: row.name,
    version: row.version,
    release: row.release,
    floor: row.floor,
    description: manifest.description,
    manifestSha256: row.manifest_sha256,
    sizeBytes: blobsOf(manifest).reduce((sum, blob) => sum + blob.size, 0),
    variants: manifest.variants.map(({ id, precision, file, accuracy }) => ({
      id,
      precision,
      sizeBytes: file.size,
      accuracy,
    })),
    publishedAt: row.published_at,
    revoked: row.revoked_at !== null,
    devices: devices.get(`${row.name}@${row.version}`) ?? 0,
  };
}

/** Checked against its schema and its hash before it was stored. */
const manifestOf = (row: Row): Manifest => JSON.parse(row.manifest_json) as Manifest;
