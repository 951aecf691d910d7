/** What the page knows, as signals: devices and rollouts as last told by the server, and how the connection is. */
import { batch, computed, signal } from '@preact/signals';
import type { DeviceSummary, ServerView, StreamEvents } from '@skein/protocol/api.ts';
import type { RolloutView } from '@skein/protocol/rollout.ts';
import { all, call } from './client.ts';
import { type Connection, type LiveStream, openEventStream } from './event-stream.ts';
import { receiveState } from './live.ts';
import { asProblem, type ProblemError } from './problem.ts';
import { signedOut } from './session.ts';
import type { ServerEvent } from './sse.ts';

export const server = signal<ServerView | null>(null);
/** `null` until the first answer: an empty fleet and an unknown one are told apart. */
export const devices = signal<ReadonlyMap<string, DeviceSummary> | null>(null);
export const rollouts = signal<ReadonlyMap<string, RolloutView> | null>(null);
export const connection = signal<Connection>({ state: 'connecting' });
export const loadProblem = signal<ProblemError | null>(null);
/** Grows with every incident of a device: its page reads its incidents anew. */
export const incidentTicks = signal<ReadonlyMap<string, number>>(new Map());

export const deviceList = computed(() => [...(devices.value?.values() ?? [])]);
export const rolloutList = computed(() =>
  [...(rollouts.value?.values() ?? [])].sort((a, b) => b.createdAt - a.createdAt),
);

const put = <T>(map: ReadonlyMap<string, T> | null, key: string, value: T): ReadonlyMap<string, T> =>
  new Map(map ?? []).set(key, value);

export const putDevice = (device: DeviceSummary): void => {
  devices.value = put(devices.value, device.id, device);
};

/** An answer that was overtaken by a newer event must not turn the page back. */
export const putRollout = (rollout: RolloutView): void => {
  const known = rollouts.value?.get(rollout.id);
  if (known && known.revision > rollout.revision) return;
  rollouts.value = put(rollouts.value, rollout.id, rollout);
};

const RECEIVE: { [T in keyof StreamEvents]: (data: StreamEvents[T]) => void } = {
  device: putDevice,
  // Does not touch `devices`: a reading each second must redraw one row, not the table.
  state: ({ device, state }) => receiveState(device, state),
  incident: ({ device }) => {
    incidentTicks.value = put(incidentTicks.value, device, (incidentTicks.value.get(device) ?? 0) + 1);
  },
  rollout: putRollout,
};

function receive(event: ServerEvent): void {
  // What was told before may not hold any more, or be of a device that was erased.
  if (event.type === 'reset') void reload();
  const handle = (RECEIVE as Record<string, ((data: never) => void) | undefined>)[event.type];
  if (handle) batch(() => handle(JSON.parse(event.data) as never));
}

/** Reads everything that live events only change. A list that fails is said and does not take the others with it. */
export async function reload(): Promise<void> {
  const results = await Promise.allSettled([
    call('server').then((view) => {
      server.value = view;
    }),
    all((query) => call('listDevices', { query })).then((items) => {
      devices.value = new Map(items.map((device) => [device.id, device]));
    }),
    call('listRollouts').then(({ items }) => {
      rollouts.value = new Map(items.map((rollout) => [rollout.id, rollout]));
    }),
  ]);
  const failed = results.find((result) => result.status === 'rejected');
  loadProblem.value = failed ? asProblem(failed.reason) : null;
}

let stream: LiveStream | undefined;

export function startLive(): void {
  stream?.close();
  stream = openEventStream({
    event: receive,
    connection: (next) => {
      connection.value = next;
    },
    opened: () => void reload(),
  });
}

export const retryNow = (): void => stream?.retryNow();

signedOut.subscribe((out) => {
  if (out) stream?.close();
});
