/** Devices as people see and change them. */
import type { DeviceView, QueryOf } from '@skein/protocol/api.ts';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Clock } from '@skein/protocol/ports.ts';
import { clearTopics } from '../broker/clear-topics.ts';
import type { Broker } from '../broker/port.ts';
import { readDeviceView } from '../fleet/device-view.ts';
import type { FleetView } from '../fleet/view.ts';
import type { Policy } from '../store/rollup.ts';
import type { Store } from '../store/sqlite-store.ts';
import type { Handlers } from './handlers.ts';
import { DEFAULT_LIMIT, decodeCursor, pageOf } from './paging.ts';
import { newestSeries, seriesBetween } from './series.ts';

export interface DeviceRouteDeps {
  store: Store;
  clock: Clock;
  view: FleetView;
  broker: Broker;
  fleet: string;
  policy: Policy;
  /** Somebody looks at this device. */
  watch(device: string): void;
}

const DEFAULT_POINTS = 600;

export function deviceRoutes(deps: DeviceRouteDeps): Handlers {
  const { view, store } = deps;
  const known = (id: string | undefined): string => {
    if (id !== undefined && view.live(id)) return id;
    throw new SkeinError('NOT_FOUND', `there is no device ${id}`, {
      fix: '`skein devices list` shows all ids.',
    });
  };
  const show = (id: string): Promise<DeviceView> => readDeviceView(store, view.live(known(id))!);
  const series = (stream: 'predictions' | 'health', device: string, query: QueryOf<'deviceHealth'>) => {
    const { limit = DEFAULT_POINTS, from, to } = query;
    if (from === undefined) return newestSeries(store, stream, device, limit);
    const now = deps.clock.now();
    const span = { device, stream, limit, fromMs: from, toMs: to ?? now };
    return seriesBetween(store, span, deps.policy, now);
  };
  return {
    async listDevices({ query }) {
      const limit = query.limit ?? DEFAULT_LIMIT;
      const after = query.cursor === undefined ? '' : String(decodeCursor(query.cursor));
      const rows = view
        .summaries()
        .filter((d) => d.id > after && (query.group === undefined || d.groups.includes(query.group)))
        .sort((a, b) => (a.id < b.id ? -1 : 1));
      return pageOf(rows.slice(0, limit + 1), limit, (d) => d.id);
    },
    showDevice: ({ params }) => show(params.id!),
    async changeDevice({ params, body }) {
      const id = known(params.id);
      const changes = {
        ...(body.name === undefined ? {} : { name: body.name }),
        ...(body.groups === undefined ? {} : { groups_json: JSON.stringify(body.groups) }),
      };
      if (Object.keys(changes).length > 0) {
        await store.updateTable('devices').set(changes).where('id', '=', id).execute();
        await view.refresh(id);
      }
      return show(id);
    },
    async revokeDevice({ params }) {
      await revoke(deps, known(params.id));
      return { ok: true };
    },
    async watchDevice({ params }) {
      deps.watch(known(params.id));
      return { ok: true };
    },
    devicePredictions: ({ params, query }) => series('predictions', known(params.id), query),
    deviceHealth: ({ params, query }) => series('health', known(params.id), query),
  };
}

/** Refused first, then disconnected, then its retained messages are cleared: it can not come back in between. */
async function revoke({ store, clock, view, broker, fleet }: DeviceRouteDeps, id: string): Promise<void> {
  await store
    .updateTable('devices')
    .set({ revoked_at: clock.now() })
    .where('id', '=', id)
    .where('revoked_at', 'is', null)
    .execute();
  await view.refresh(id);
  await broker.disconnect(id);
  await clearTopics(broker, fleet, id);
}
