/**
 * The live view of the fleet: what devices say on the plain channels, joined with what the store knows.
 * Live values are kept in memory and written down rarely: last-seen every {@link PRESENCE_MS}, everything else that
 * changed within {@link REFRESH_MS}. After a crash last-seen may be that much too old; nothing else is lost, for
 * devices publish their retained messages again on connect. Only enrolled devices are listened to.
 */
import type { DeviceSummary, StreamEvents } from '@skein/protocol/api.ts';
import {
  type HelloMessage,
  parseEvent,
  parseHello,
  parseState,
  parseStatus,
  parseUpdate,
  type StateMessage,
  type UpdateMessage,
} from '@skein/protocol/messages.ts';
import type { Clock, Log, Timer } from '@skein/protocol/ports.ts';
import { type Channel, parseTopic } from '@skein/protocol/topics.ts';
import { type Millis, SECOND } from '@skein/protocol/units.ts';
import type { Store } from '../store/sqlite-store.ts';
import { CLONE_ID, type CloneWatch, createCloneWatch } from './clones.ts';
import { readDevices, type StoredDevice } from './device-rows.ts';

const REFRESH_MS: Millis = 250;
const PRESENCE_MS: Millis = 10 * SECOND;

export interface FleetViewDeps {
  store: Store;
  clock: Clock;
  log: Log;
  fleet: string;
  /** To whoever watches; see StreamEvents. */
  publish<T extends keyof StreamEvents>(type: T, data: StreamEvents[T]): void;
}

export interface FleetView {
  /** Reads all devices; those of an earlier run count as offline until they say otherwise. */
  load(): Promise<void>;
  /** A message of the broker. Malformed or foreign ones are logged and dropped. */
  handle(topic: string, payload: Uint8Array): void;
  summaries(): DeviceSummary[];
  summary(device: string): DeviceSummary | undefined;
  live(device: string): LiveDevice | undefined;
  isEnrolled(device: string): boolean;
  /** Something of this device changed in the store: it is read again soon, and watchers are told. */
  touch(device: string): void;
  /** As {@link touch}, at once: after enrolment, renaming, revocation. */
  refresh(device: string): Promise<void>;
  /** It was erased: whatever is still under way of it changes nothing any more. */
  forget(device: string): void;
  /** Writes down what is still only in memory. */
  close(): Promise<void>;
}

export interface LiveDevice {
  stored: StoredDevice;
  online: boolean;
  session: string;
  boot: string;
  lastSeen: Millis | null;
  hello: HelloMessage | null;
  state: StateMessage | null;
  update: UpdateMessage | null;
  clones: CloneWatch;
}

export function createFleetView(deps: FleetViewDeps): FleetView {
  const { store, clock, log, publish } = deps;
  const devices = new Map<string, LiveDevice>();
  const toRefresh = new Set<string>();
  const toPersist = new Set<string>();
  const forgotten = new Set<string>();
  let refreshTimer: Timer | undefined;
  let presenceTimer: Timer | undefined;
  let closed = false;

  const adopt = (stored: StoredDevice): void => {
    if (forgotten.has(stored.id)) return;
    const live = devices.get(stored.id);
    if (live) live.stored = stored;
    else devices.set(stored.id, newLive(stored));
  };
  const announce = (id: string): void => {
    const live = devices.get(id);
    if (live) publish('device', summaryOf(live));
  };
  const failed = (what: string) => (error: Error) => log.error(what, { error: error.message });

  const touch = (id: string): void => {
    if (!devices.has(id) || closed) return;
    toRefresh.add(id);
    refreshTimer ??= clock.after(REFRESH_MS, () => {
      refreshTimer = undefined;
      flushRefresh().catch(failed('reading devices'));
    });
  };
  async function flushRefresh(): Promise<void> {
    const ids = [...toRefresh];
    toRefresh.clear();
    await persistPresence();
    for (const stored of await readDevices(store, ids)) adopt(stored);
    for (const id of ids) announce(id);
  }
  const seen = (id: string, live: LiveDevice): void => {
    live.lastSeen = clock.now();
    toPersist.add(id);
    if (closed) return;
    presenceTimer ??= clock.after(PRESENCE_MS, () => {
      presenceTimer = undefined;
      persistPresence().catch(failed('writing presence'));
    });
  };
  async function persistPresence(): Promise<void> {
    const rows = [...toPersist].map((id) => presenceRow(id, devices.get(id)!));
    toPersist.clear();
    if (rows.length === 0) return;
    await store.transaction().execute(async (tx) => {
      for (const row of rows) {
        const { device: _, ...changed } = row;
        await tx
          .insertInto('presence')
          .values(row)
          .onConflict((c) => c.column('device').doUpdateSet(changed))
          .execute();
      }
    });
  }

  return {
    async load() {
      for (const stored of await readDevices(store)) adopt(stored);
    },
    handle(topic, payload) {
      const parts = parseTopic(topic);
      const live = parts && devices.get(parts.device);
      // An empty payload clears a retained message; it says nothing about the device.
      if (!parts || !live || parts.fleet !== deps.fleet || payload.length === 0) return;
      seen(parts.device, live);
      try {
        if (receive({ ...deps, touch }, parts.device, live, parts.channel, payload)) touch(parts.device);
      } catch (error) {
        log.warn('refused a message', { topic, error: (error as Error).message });
      }
    },
    summaries: () => [...devices.values()].map(summaryOf),
    summary: (id) => {
      const live = devices.get(id);
      return live && summaryOf(live);
    },
    live: (id) => devices.get(id),
    isEnrolled: (id) => devices.get(id)?.stored.revoked === false,
    touch,
    async refresh(id) {
      for (const stored of await readDevices(store, [id])) adopt(stored);
      announce(id);
    },
    forget(id) {
      forgotten.add(id);
      for (const known of [devices, toRefresh, toPersist]) known.delete(id);
    },
    async close() {
      closed = true;
      refreshTimer?.cancel();
      presenceTimer?.cancel();
      await persistPresence();
    },
  };
}

/** Takes one message into `live`; true when the summary changes with it. @throws SkeinError MESSAGE_INVALID */
function receive(
  deps: FleetViewDeps & { touch(device: string): void },
  device: string,
  live: LiveDevice,
  channel: Channel,
  payload: Uint8Array,
): boolean {
  const { publish, log } = deps;
  switch (channel) {
    case 'status': {
      const status = parseStatus.parse(payload, channel);
      const { online, session, boot } = status;
      if (online === 1 && live.clones.returned(boot)) {
        tellClone(deps, device, live, boot).catch((e: Error) => log.error(e.message));
      }
      Object.assign(live, { online: online === 1, session, boot });
      return true;
    }
    case 'hello':
      live.hello = parseHello.parse(payload, channel);
      return true;
    case 'state': {
      const before = summaryOf(live).model;
      live.state = parseState.parse(payload, channel);
      publish('state', { device, state: live.state });
      return summaryOf(live).model !== before;
    }
    case 'event': {
      const { id, after } = parseEvent.parse(payload, channel);
      publish('incident', { device, id, incident: after });
      return false;
    }
    case 'update':
      live.update = parseUpdate.parse(payload, channel);
      return true;
    default:
      // Batches and control traffic are other rooms' business.
      return false;
  }
}

/** Once, to the store and to whoever watches; the summary counts it. */
async function tellClone(
  { publish, clock, store, touch }: FleetViewDeps & { touch(device: string): void },
  device: string,
  live: LiveDevice,
  boot: string,
): Promise<void> {
  const incident = await live.clones.report(store, device, boot, clock.now());
  if (incident === undefined) return;
  publish('incident', { device, id: CLONE_ID, incident });
  touch(device);
}

const newLive = (stored: StoredDevice): LiveDevice => ({
  stored,
  online: false,
  session: '',
  boot: '',
  lastSeen: stored.lastSeen,
  hello: stored.hello,
  state: stored.state,
  update: null,
  clones: createCloneWatch(),
});

function modelOf({ state, hello, stored }: LiveDevice): string | null {
  if (state?.model && state.version) return `${state.model}@${state.version}`;
  const first = hello?.models[0];
  return first ? `${first.name}@${first.version}` : stored.installed;
}

export function summaryOf(live: LiveDevice): DeviceSummary {
  const { id, name, groups, predictions, warnings, drift, revoked } = live.stored;
  const online = live.online && !revoked;
  return {
    id,
    name,
    groups,
    online,
    lastSeen: live.lastSeen,
    model: modelOf(live),
    predictions,
    warnings,
    drift,
    revoked,
  };
}

function presenceRow(device: string, live: LiveDevice) {
  const json = (value: object | null) => (value ? JSON.stringify(value) : null);
  return {
    device,
    online: live.online ? 1 : 0,
    session: live.session,
    boot: live.boot,
    last_seen: live.lastSeen ?? 0,
    hello_json: json(live.hello),
    state_json: json(live.state),
    update_json: json(live.update),
  };
}
