/** One device with all that a person may want to see of it. */
import type { DeviceView } from '@skein/protocol/api.ts';
import type { Incident } from '@skein/protocol/messages.ts';
import type { Stream } from '@skein/protocol/topics.ts';
import type { Selectable } from 'kysely';
import type { Tables } from '../store/schema.ts';
import type { Store } from '../store/sqlite-store.ts';
import { type LiveDevice, summaryOf } from './view.ts';

const MAX_INCIDENTS = 100;
const MAX_GAP_RANGES = 100;
/** Reason of a gap whose records the server had acknowledged once. */
const LOST = 'lost-at-server';

export async function readDeviceView(store: Store, live: LiveDevice): Promise<DeviceView> {
  const { id, enrolledAt, certificateExpiresAt } = live.stored;
  return {
    ...summaryOf(live),
    enrolledAt,
    certificateExpiresAt,
    hello: live.hello,
    state: live.state,
    update: live.update,
    streams: await readStreams(store, id),
    faults: await readFaults(store, id),
    incidents: await readIncidents(store, id),
    installed: await store
      .selectFrom('installed')
      .select(['model', 'version', 'sha256', 'since'])
      .where('device', '=', id)
      .orderBy('model')
      .execute(),
  };
}

/** The device's ledger as far as the server knows it: each number it was told of, stored or in a gap. */
export async function readStreams(store: Store, device: string): Promise<DeviceView['streams']> {
  const gaps = await store.selectFrom('gaps').selectAll().where('device', '=', device).execute();
  const rows = await store
    .selectFrom('streams')
    .selectAll()
    .where('device', '=', device)
    .orderBy('stream')
    .orderBy('ordinal')
    .execute();
  return rows.map((row) =>
    streamView(
      row,
      gaps.filter((gap) => gap.stream === row.stream && gap.epoch === row.epoch),
    ),
  );
}

const sizeOf = (gaps: readonly { from_seq: number; to_seq: number }[]): number =>
  gaps.reduce((sum, gap) => sum + gap.to_seq - gap.from_seq + 1, 0);

/** stored + dropped + lostAtServer = nextSeq; what the device still holds, it says itself. */
function streamView(
  row: Selectable<Tables['streams']>,
  gaps: readonly Selectable<Tables['gaps']>[],
): DeviceView['streams'][number] {
  const lost = gaps.filter(({ reason }) => reason === LOST);
  return {
    stream: row.stream as Stream,
    epoch: row.epoch,
    stored: row.stored,
    observed: Math.max(row.observed, row.stored),
    expired: row.expired,
    nextSeq: row.next_seq,
    dropped: sizeOf(gaps) - sizeOf(lost),
    lostAtServer: sizeOf(lost),
    gaps: gaps
      .toSorted((x, y) => x.from_seq - y.from_seq)
      .slice(-MAX_GAP_RANGES)
      .map(({ from_seq, to_seq, reason }) => ({ from: from_seq, to: to_seq, reason })),
    updatedAt: row.updated_at,
  };
}

/** Open ones first, then the newest. */
async function readIncidents(store: Store, device: string): Promise<DeviceView['incidents']> {
  const rows = await store
    .selectFrom('incidents')
    .selectAll()
    .where('device', '=', device)
    .orderBy((eb) => eb.case().when('end_time', 'is', null).then(0).else(1).end())
    .orderBy('start_time', 'desc')
    .limit(MAX_INCIDENTS)
    .execute();
  return rows.map((row) => ({
    id: row.id,
    code: row.code as Incident['code'],
    severity: row.severity as Incident['severity'],
    start_time: row.start_time,
    end_time: row.end_time,
    ...(row.source === null ? {} : { source: row.source }),
    ...(row.detail === null ? {} : { detail: row.detail }),
  }));
}

export async function readFaults(store: Store, device: string): Promise<DeviceView['faults']> {
  const rows = await store
    .selectFrom('faults')
    .selectAll()
    .where('device', '=', device)
    .orderBy('kind')
    .execute();
  return rows.map(({ kind, count, first_at, last_at, detail }) => {
    return {
      kind: kind as DeviceView['faults'][number]['kind'],
      count,
      firstAt: first_at,
      lastAt: last_at,
      detail,
    };
  });
}
