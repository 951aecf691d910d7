/**
 * Which patches the fleet needs and which there are. Needed is one from each blob that devices have proven to run to the
 * blob of the same variant in the newest release; they are worked out anew from the tables whenever something was
 * published, at the start and every hour, so nothing has to be remembered through a crash. A pair that was tried is not
 * tried again.
 */
import { type DeltaOffer, MAX_OFFERS } from '@skein/protocol/delta/offers.ts';
import type { Manifest, Variant } from '@skein/protocol/manifest.ts';
import type { Bytes, Millis, Sha256Hex } from '@skein/protocol/units.ts';
import type { Store } from '../store/sqlite-store.ts';

/** Old versions of one model that get a patch, those of most devices first. */
const MOST_VERSIONS = 8;

interface Blob {
  sha256: Sha256Hex;
  size: Bytes;
}
export interface DeltaPair {
  model: string;
  from: Blob;
  to: Blob;
}

/** Pairs that are still to be made, in the order of how many devices wait for them. */
export async function missingDeltas(store: Store): Promise<DeltaPair[]> {
  const models = await store.selectFrom('models').selectAll().orderBy('release').execute();
  const installed = await store
    .selectFrom('installed')
    .innerJoin('devices', 'devices.id', 'installed.device')
    .where('devices.revoked_at', 'is', null)
    .select(({ fn }) => ['installed.model', 'installed.sha256', fn.countAll<number>().as('devices')])
    .groupBy(['installed.model', 'installed.sha256'])
    .orderBy('devices', 'desc')
    .execute();
  const tried = await store.selectFrom('deltas').select(['from_sha256', 'to_sha256']).execute();
  const known = new Set(tried.map((row) => `${row.from_sha256} ${row.to_sha256}`));
  const manifests = Map.groupBy(
    // Checked against its schema and its hash before it was stored.
    models.map((row) => ({ row, manifest: JSON.parse(row.manifest_json) as Manifest })),
    ({ row }) => row.name,
  );
  return [...manifests].flatMap(([model, releases]) => {
    const newest = releases.findLast(({ row }) => row.revoked_at === null)?.manifest;
    const running = installed.filter((row) => row.model === model).slice(0, MOST_VERSIONS);
    const pairs = running.flatMap(({ sha256 }) => {
      const old = releases.flatMap(({ manifest }) => manifest.variants).find((v) => v.file.sha256 === sha256);
      const to = old && newest && counterpart(newest.variants, old);
      return to && to.sha256 !== sha256 ? [{ model, from: old.file, to }] : [];
    });
    return pairs.filter(({ from, to }) => !known.has(`${from.sha256} ${to.sha256}`));
  });
}

/** What a device that runs `old` will most likely be given: the same variant, else one of the same precision there. */
function counterpart(variants: readonly Variant[], old: Variant): Blob | undefined {
  const same = variants.filter(({ backend }) => backend === old.backend);
  const found =
    same.find(({ id }) => id === old.id) ?? same.find(({ precision }) => precision === old.precision);
  return found?.file;
}

export interface MadeDelta {
  from: Sha256Hex;
  to: Sha256Hex;
  /** null: it would save too little. */
  patch: Blob | null;
}

export async function recordDelta(store: Store, { from, to, patch }: MadeDelta, now: Millis): Promise<void> {
  const row = { patch: patch?.sha256 ?? null, size: patch?.size ?? 0, made_at: now };
  await store
    .insertInto('deltas')
    .values({ from_sha256: from, to_sha256: to, ...row })
    .onConflict((clash) => clash.columns(['from_sha256', 'to_sha256']).doUpdateSet(row))
    .execute();
}

/** What makes this blob, the smallest patch first. */
export async function deltaOffers(store: Store, to: Sha256Hex): Promise<DeltaOffer[]> {
  const rows = await store
    .selectFrom('deltas')
    .selectAll()
    .where('to_sha256', '=', to)
    .where('patch', 'is not', null)
    .orderBy('size')
    .limit(MAX_OFFERS)
    .execute();
  return rows.map((row) => ({ from: row.from_sha256, patch: row.patch!, sizeBytes: row.size }));
}
