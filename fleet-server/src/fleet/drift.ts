/**
 * Drift of the fleet or of one device: the reported windows of each running model version, merged by the profile
 * they were counted against. Considered are the windows of the last {@link LOOK_BACK}, at most
 * {@link MAX_WINDOWS} a model version, newest first; of each device only those of its newest boot.
 */
import type { DriftView } from '@skein/protocol/api.ts';
import { type ReportedWindow, summariseDrift } from '@skein/protocol/drift/summary.ts';
import type { Manifest } from '@skein/protocol/manifest.ts';
import type { Clock } from '@skein/protocol/ports.ts';
import type { DriftRecord } from '@skein/protocol/records.ts';
import { DAY, type Millis } from '@skein/protocol/units.ts';
import type { Store } from '../store/sqlite-store.ts';

const LOOK_BACK: Millis = DAY;
const MAX_WINDOWS = 2_000;

export interface DriftQuery {
  /** Model name; all when absent. */
  model?: string;
  device?: string;
}

/** Newest model versions first; versions that nobody reported about are left out. */
export async function driftViews(store: Store, clock: Clock, query: DriftQuery): Promise<DriftView[]> {
  const models = await store
    .selectFrom('models')
    .select(['name', 'version', 'manifest_json'])
    .$if(query.model !== undefined, (q) => q.where('name', '=', query.model!))
    .orderBy('published_at', 'desc')
    .execute();
  const views: DriftView[] = [];
  for (const { name, version, manifest_json } of models) {
    const profile = (JSON.parse(manifest_json) as Manifest).drift;
    if (!profile) continue;
    const records = await recentWindows(store, clock, name, version, query.device);
    if (records.length === 0) continue;
    views.push({ model: name, version, device: query.device ?? null, ...summariseDrift(profile, records) });
  }
  return views;
}

async function recentWindows(store: Store, clock: Clock, model: string, version: string, device?: string) {
  const rows = await store
    .selectFrom('drift_windows')
    .select(['device', 'boot', 'record_json'])
    .where('model', '=', model)
    .where('version', '=', version)
    .where('ts', '>=', clock.now() - LOOK_BACK)
    .$if(device !== undefined, (q) => q.where('device', '=', device!))
    .orderBy('ts', 'desc')
    .limit(MAX_WINDOWS)
    .execute();
  const newestBoot = new Map<string, string>();
  for (const row of rows) if (!newestBoot.has(row.device)) newestBoot.set(row.device, row.boot);
  return rows
    .filter((row) => newestBoot.get(row.device) === row.boot)
    .map(
      (row): ReportedWindow => ({
        ...(JSON.parse(row.record_json) as DriftRecord),
        device: row.device,
      }),
    );
}
